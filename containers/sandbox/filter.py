"""The filter of system calls that submissions run under, where the engine takes one.

The engines' own filters differ by version and leave doors open that no prediction needs: sockets to the machine that
hosts a virtual machine (``AF_VSOCK``, moby/moby#44562), sockets of the kernel's cryptography, and all 32-bit calls,
among them ``socketcall``, whose family of sockets no filter can see. This one knows 64-bit calls only, lists what is
allowed, and four families of sockets.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_ALLOWED = """
    accept accept4 access adjtimex alarm arch_prctl bind brk capget capset chdir chmod chown clock_getres
    clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
    epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
    execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchown
    fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync
    ftruncate futex futex_waitv futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64
    getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
    getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
    io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek lsetxattr
    lstat madvise membarrier memfd_create mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall
    mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap msgctl msgget
    msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2
    prlimit64 pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg
    recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid
    setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr shmat shmctl shmdt shmget shutdown
    sigaltstack signalfd signalfd4 socketpair splice stat statfs statx symlink symlinkat sync sync_file_range
    syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
    timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat utime
    utimensat utimes vfork vmsplice wait4 waitid write writev
""".split()  # noqa: SIM905 - a list of 300 words reads better so
"""Calls of Linux 6.1 on x86-64 that need no privilege and reach nothing outside the container."""
_FAMILIES = (1, 2, 10, 16)
"""Sockets: local, internet 4 and 6 (there is no network but the container's own loopback), and netlink."""
_NAMESPACES = 0x7E020000
"""Flags of clone that make namespaces."""
_PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
_NOT_THERE = 38
"""ENOSYS: what the C library needs to hear of clone3, whose flags no filter can see, to use clone instead."""


def _rule(names: list[str], action: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    return {"names": names, "action": action, "args": [], **more}


def _only(name: str, value: int, *, mask: int | None = None) -> dict[str, Any]:
    compared = {"index": 0, "value": value, "valueTwo": 0, "op": "SCMP_CMP_EQ"}
    if mask is not None:
        compared = {"index": 0, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return _rule([name], args=[compared])


@cache
def profile() -> str:
    """Return the filter as engines take it: one JSON object."""
    rules = [_rule(_ALLOWED), _only("clone", 0, mask=_NAMESPACES)]
    rules += [_only("socket", family) for family in _FAMILIES]
    rules += [_only("personality", value) for value in _PERSONALITIES]
    rules.append(_rule(["clone3"], "SCMP_ACT_ERRNO", errnoRet=_NOT_THERE))
    document = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules}
    return json.dumps(document, sort_keys=True)


def as_file(folder: Path) -> str:
    """Write the filter into a folder and return its path: some engines (Podman) take the name of a file instead."""
    path = folder / _FILE
    path.write_text(profile(), encoding="utf-8")
    return str(path.resolve())


_FILE = "calls.json"
