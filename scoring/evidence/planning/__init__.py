"""How many cases the next edition needs: by simulation from this one, and by counting before there is one."""
