"use strict";
(async () => {
  const [cases, teams] = ["case", "team"].map((id) => document.getElementById(id));
  const [inside, reference, prediction] = ["inside", "reference", "prediction"].map((id) => document.getElementById(id));
  const [said, canvas] = ["said", "view"].map((id) => document.getElementById(id));
  const colours = canvas.dataset.colours.split(" ").map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
  window.medpodium = { cases: {} };
  if (!window.niivue || !cases.options.length) { said.textContent = "There is nothing to show."; return; }
  const { Niivue, NVImage, SHOW_RENDER } = window.niivue;
  const viewer = new Niivue({
    backColor: [0, 0, 0, 1], show3Dcrosshair: false, crosshairWidth: 0.6, crosshairColor: [1, 1, 1, 0.55], isRadiologicalConvention: true,
    multiplanarShowRender: SHOW_RENDER.ALWAYS, isResizeCanvas: true, dragAndDropEnabled: false, loadingText: "", textHeight: 0.035, logLevel: "silent",
  });
  try { await viewer.attachToCanvas(canvas); } catch (error) { said.textContent = `This page needs WebGL 2: ${error.message ?? error}`; return; }
  viewer.setSliceType(viewer.sliceTypeMultiplanar);
  viewer.setAtlasOutline(1);

  // Data lie in scripts of their own: a page that is opened as a file may not fetch files.
  const loaded = (name) => window.medpodium.cases[name] ? Promise.resolve(window.medpodium.cases[name]) : new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = `viewer/${name}.js`;
    script.addEventListener("load", () => done(window.medpodium.cases[name]));
    script.addEventListener("error", () => failed(new Error(`${name}.js is missing`)));
    document.head.append(script);
  });
  const painted = (count, colour) => ({
    R: [0, ...Array(count).fill(colour[0])], G: [0, ...Array(count).fill(colour[1])], B: [0, ...Array(count).fill(colour[2])],
    A: [0, ...Array(count).fill(255)], I: Array.from({ length: count + 1 }, (_, at) => at), labels: ["", ...Array(count).fill("")],
  });
  const volume = (name, base64, own = {}) => NVImage.loadFromBase64({ base64, name: `${name}.nii.gz`, ...own });
  let turn = 0;
  const show = async () => {
    const mine = ++turn;
    const option = cases.selectedOptions[0];
    const team = teams.selectedOptions[0];
    try {
      const own = await loaded(option.dataset.file);
      const part = own.predictions[team.dataset.name];
      const whole = part ? await loaded(part) : undefined;
      if (mine !== turn) { return; }
      const opacity = (ticked) => ticked ? Number(inside.value) / 100 : 0;
      const volumes = [await volume("image", own.image || own.reference, { colormap: "gray", cal_min: 0, cal_max: own.image ? 255 : 1e6 })];
      const masks = [[reference, own.reference, 0], [prediction, whole, 1]].filter(([tick, data]) => tick.checked && data);
      for (const [tick, data, at] of masks) {
        const mask = await volume(at ? "prediction" : "reference", data, { opacity: Math.max(0.004, opacity(tick.checked)) });
        mask.hdr.intent_code = 1002;
        mask.setColormapLabel(painted(own.structures, colours[at]));
        volumes.push(mask);
      }
      if (mine !== turn) { return; }
      while (viewer.volumes.length) { viewer.removeVolume(viewer.volumes[0]); }
      for (const one of volumes) { viewer.addVolume(one); }
      viewer.scene.crosshairPos = own.middle;
      viewer.updateGLVolume();
      const words = [`Case ${own.case}, ${own.task}.`, own.image ? "" : "Without its image.", part ? `Prediction of ${team.dataset.name}.` : `No prediction of ${team.dataset.name} can be shown.`];
      said.textContent = words.filter(Boolean).join(" ");
      try { window.history.replaceState(null, "", `#${new URLSearchParams({ case: own.case, team: team.dataset.name })}`); } catch { /* a file may not be allowed to */ }
      canvas.dataset.ready = String(Number(canvas.dataset.ready ?? 0) + 1);
    } catch (error) { said.textContent = `This case cannot be shown: ${error.message ?? error}`; }
  };
  const read = () => {
    const kept = new URLSearchParams(window.location.hash.slice(1));
    const pick = (select, key, of) => { const at = [...select.options].findIndex((one) => of(one) === kept.get(key)); if (at >= 0) { select.selectedIndex = at; } };
    pick(cases, "case", (one) => one.textContent);
    pick(teams, "team", (one) => one.dataset.name);
  };
  read();
  for (const control of [cases, teams, inside, reference, prediction]) { control.addEventListener("change", show); }
  window.addEventListener("hashchange", () => { read(); show(); });
  await show();
})();
