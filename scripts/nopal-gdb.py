# Lets gdb see through the calls that nopal records with --graph on x86-64:
#
#   gdb -x nopal-gdb.py -p PID
#
# There a function returns to a thunk of nopal's, whose frame has the return address and
# lies one gibibyte further (internal/entry/graph.go).
import gdb
from gdb.unwinder import Unwinder, register_unwinder

REGION = 1 << 30
RETURN = 8


REGIONS = {}


def start():
    """Where the thunks of the program are, None if it has none."""
    pid = gdb.selected_inferior().pid
    if pid not in REGIONS:
        try:
            with open(f"/proc/{pid}/maps") as maps:
                found = [int(m.split("-")[0], 16) for m in maps if "/memfd:nopal-thunks" in m]
        except OSError:
            found = []
        if not found:
            return None
        REGIONS[pid] = min(found)
    return REGIONS[pid]


def is_thunk(pc):
    first = start()
    return first is not None and first <= pc < first + REGION


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class Thunks(Unwinder):
    def __init__(self):
        super().__init__("nopal")

    def __call__(self, pending):
        pc = int(pending.read_register("rip"))
        if not is_thunk(pc):
            return None
        sp = pending.read_register("rsp")
        frame = (pc & ~63) + REGION
        back = gdb.Value(frame + RETURN).cast(gdb.lookup_type("unsigned long").pointer()).dereference()
        info = pending.create_unwind_info(FrameId(sp, gdb.Value(pc)))
        info.add_saved_register("rip", back)
        info.add_saved_register("rsp", sp)
        for name in ("rbx", "rbp", "r12", "r13", "r14", "r15"):
            info.add_saved_register(name, pending.read_register(name))
        return info


class WithoutThunks:
    """Leaves them out of backtraces."""

    def __init__(self):
        self.name, self.priority, self.enabled = "nopal", 100, True
        gdb.current_progspace().frame_filters[self.name] = self

    def filter(self, frames):
        return (f for f in frames if not is_thunk(f.inferior_frame().pc()))


WithoutThunks()
register_unwinder(None, Thunks(), replace=True)
