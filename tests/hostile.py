"""Targets that misbehave, made by a grammar from a seed, and what may be said of them.

    python tests/hostile.py --count 1000 --seed 0

A target is an implementation, right or with one bug, and one to three misbehaviours, each at a place: at import, or in
a call of one of its functions. What a misbehaviour may do to the verdict is part of the grammar: one that only makes
noise leaves a right implementation right; one that ends the process, or what can be heard of it, leaves nothing to
judge; one that spoils results makes it wrong. No misbehaviour makes a bug conform. Every tenth target goes through the
command line, two in ten to identify, gradcheck or numerics, which may say what they like in words. Reported: tracebacks
and internal faults, processes left, verdicts that the arrays do not support.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent
TAG = "REFNORM_HOSTILE"
TIMEOUT = 4.0  # seconds for a case of what may hang
PATIENT = 600.0  # seconds for a case of what does not, on however slow a machine
NOISE, SPOIL, SILENCE, END = "noise", "spoil", "silence", "end"
MAY = {  # exit statuses that a right implementation may get
    NOISE: {0},  # nothing else may be said
    SPOIL: {0, 1, 2},  # wrong where results are looked at; a function that no case calls spoils nothing
    SILENCE: {0, 2},  # the line may be lost; if it is not, the numbers are right
    END: {0, 2},  # nothing to judge, unless the place is never reached
}


class Misbehaviour(NamedTuple):
    """Lines of Python, ``RESULT`` what the function would return, and what they may do to the verdict."""

    effect: str
    code: str


LINES = "for fd in range(3, 64):\n    try: os.write(fd, {})\n    except OSError: pass"
FRAME = "struct.pack('<4sIQ', b'bn/1', {length}, {size}) + {body}"
BUSY = (  # a few threads: hundreds, one for each call, only make their own target slow, and eat the machine's memory
    "if threading.active_count() < 4:\n"
    "    threading.Thread(target=lambda: all(n == 0 for n in iter(int, 1)), daemon=True).start()"
)
OUTSIDE = [  # at import, or before a call computes
    Misbehaviour(NOISE, "print('x' * random.choice([1, 10**6]))"),
    Misbehaviour(
        NOISE, "sys.stdout.write('\\x1b[31m\\a\\0\\udc80'.encode('utf-8', 'replace').decode()); sys.stdout.flush()"
    ),
    Misbehaviour(NOISE, "os.write(2, os.urandom(5000))"),
    Misbehaviour(NOISE, 'os.write(1, b\'{"result": {"conforms": true}}\\n\' * 50)'),
    Misbehaviour(NOISE, "warnings.warn('look at me'); np.seterr(all='raise')"),
    Misbehaviour(NOISE, "np.seterr(all='raise'); warnings.simplefilter('ignore')"),
    Misbehaviour(NOISE, "subprocess.Popen(['sleep', '300'])"),
    Misbehaviour(NOISE, "subprocess.Popen(['sleep', '300'], start_new_session=True)"),
    Misbehaviour(NOISE, "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(300)\n    os._exit(0)"),
    Misbehaviour(
        NOISE, "if os.fork() == 0:\n    for s in (1, 2, 3, 15): signal.signal(s, signal.SIG_IGN)\n    time.sleep(300)"
    ),
    Misbehaviour(NOISE, "threading.Thread(target=time.sleep, args=(300,)).start()"),
    Misbehaviour(NOISE, BUSY),
    Misbehaviour(NOISE, "os.chdir('/')"),
    Misbehaviour(NOISE, "sys.path.clear(); os.environ.clear()"),
    Misbehaviour(SPOIL, "sys.stdout = sys.stderr = None"),
    Misbehaviour(NOISE, "gc.disable(); sys.setswitchinterval(1e-5)"),
    Misbehaviour(NOISE, "[signal.signal(s, signal.SIG_IGN) for s in (1, 2, 3, 13, 15)]"),
    Misbehaviour(NOISE, "os.remove(__file__) if os.path.exists(__file__) else None"),
    Misbehaviour(SPOIL, "for fd in (0, 1):\n    try: os.close(fd)\n    except OSError: pass"),
    Misbehaviour(NOISE, "os.dup2(os.open('/dev/null', os.O_WRONLY), 2)"),
    Misbehaviour(SILENCE, "os.write(1, b'y' * 10**8)"),
    Misbehaviour(SILENCE, "os.closerange(0, 256)"),
    Misbehaviour(SILENCE, "os.closerange(3, 256)"),
    Misbehaviour(SPOIL, "sys.setrecursionlimit(60)"),
    Misbehaviour(SPOIL, "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))"),
    Misbehaviour(SPOIL, "resource.setrlimit(resource.RLIMIT_AS, (1 << 27, 1 << 27))"),
    Misbehaviour(SILENCE, LINES.format("b'garbage\\n' * 100")),
    Misbehaviour(SILENCE, LINES.format("os.urandom(100)")),
    Misbehaviour(SILENCE, LINES.format("b''")),
    Misbehaviour(SILENCE, LINES.format('b\'{"result": {"conforms": true, "paths": []}}\\n\'')),
    Misbehaviour(SILENCE, LINES.format(FRAME.format(length=2, size=0, body="b'{}'"))),
    Misbehaviour(SILENCE, LINES.format(FRAME.format(length=4, size=0, body="b'null'"))),
    Misbehaviour(SILENCE, LINES.format(FRAME.format(length="2**32 - 1", size="2**60", body="b''"))),
    Misbehaviour(SILENCE, LINES.format(FRAME.format(length=100, size=0, body="b'{'"))),
    Misbehaviour(SILENCE, LINES.format(FRAME.format(length=10**5, size=0, body="b'[' * 10**5"))),
    *(
        Misbehaviour(
            SILENCE, LINES.format(f"(lambda t: {FRAME.format(length='len(t)', size=size, body='t')})({text!r})")
        )
        for size, text in [
            (0, b'{"asked": 1, "loaded": {}}'),
            (0, b'{"asked": 2, "loaded": 5}'),
            (0, b'{"asked": 1, "loaded": {"paths": {"": {"calls": 7}}}}'),
            (0, b'{"asked": 2, "value": {"tuple": [1, 2, 3, {"opaque": [1, "x"]}]}}'),
            (0, b'{"asked": 3, "value": {"array": 99}}'),
            (0, b'{"asked": 3, "raised": 4}'),
            (0, b'{"asked": 3, "raised": ["\\udc80", "\\u001b[2J"]}'),
            (0, b'{"asked": 3, "value": null, "arrays": [[-1, "<f8", [1099511627776, 1099511627776], [8, 8], true]]}'),
            (0, b'{"asked": 3, "value": null, "arrays": [[-1, "O", [1], [8], true]]}'),
            (0, b'{"asked": 3, "value": null, "arrays": [[true, "<f8", [], [], true]]}'),
            (0, b'{"asked": 3, "value": null, "arrays": [[1, "<f8", [-5], [8], true]]}'),
            (0, b'{"asked": 3, "value": 1e999, "arrays": 5}'),
        ]
    ),
    Misbehaviour(SILENCE, "json.dumps = lambda *a, **k: 'garbage'"),
    Misbehaviour(SILENCE, "json.loads = lambda *a, **k: {}"),
    Misbehaviour(SILENCE, "sys.modules['json'] = types.SimpleNamespace(loads=None, dumps=None)"),
    Misbehaviour(SPOIL, "import struct as s; s.Struct = s.pack = None"),
    Misbehaviour(SILENCE, "socket.socket.sendall = lambda *a: None"),
    Misbehaviour(SILENCE, "socket.socket.recv = lambda *a: b'x' * 16"),
    Misbehaviour(SPOIL, "builtins.len = lambda *a: 3"),
    Misbehaviour(SPOIL, "builtins.isinstance = lambda *a: True"),
    Misbehaviour(SPOIL, "builtins.type = lambda *a: int"),
    Misbehaviour(SPOIL, "builtins.str = None"),
    Misbehaviour(SPOIL, "np.frombuffer = np.ndarray = None"),
    Misbehaviour(SPOIL, "wire = sys.modules.get('refnorm.oracle.ask.wire'); wire.packed = lambda *a: {'array': 1}"),
    Misbehaviour(SILENCE, "wire = sys.modules.get('refnorm.oracle.ask.wire'); wire.MAGIC = b'no!!'"),
    Misbehaviour(SPOIL, "sys.modules['refnorm.oracle.ask.worker'].Worker._called = lambda self, r: {'value': None}"),
    Misbehaviour(END, "time.sleep(300)"),
    Misbehaviour(END, "while True: pass"),
    Misbehaviour(END, "os.kill(os.getpid(), signal.SIGSTOP)"),
    Misbehaviour(END, "os._exit(random.choice([0, 1, 2, 3]))"),
    Misbehaviour(END, "os.abort()"),
    Misbehaviour(END, "os.kill(os.getpid(), random.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))"),
    Misbehaviour(END, "os.killpg(0, signal.SIGKILL)"),
    Misbehaviour(END, "os.kill(os.getppid(), signal.SIGKILL)"),
    Misbehaviour(
        END,
        "if os.fork() == 0:\n    os.setsid(); time.sleep(300)\nos.kill(os.getppid(), signal.SIGKILL); time.sleep(300)",
    ),
    Misbehaviour(END, "os.kill(os.getppid(), signal.SIGTERM)"),
    Misbehaviour(END, "os.execv('/bin/sleep', ['sleep', '300'])"),
    Misbehaviour(END, "ctypes.string_at(0)"),
]
RAISED = [  # in a call, or at import
    "raise ValueError('\\udc80\\x1b[2J\\0' * 100)",
    "raise ValueError('x' * 10**6)",
    "raise type('E' * 5000, (Exception,), {})('long')",
    "raise type('Bad', (Exception,), {'__str__': lambda self: 1 / 0})()",
    "raise type('Bad', (Exception,), {'__str__': lambda self: None})()",
    "raise type('Bad\\n\\x1b', (BaseException,), {})('odd')",
    "raise KeyboardInterrupt",
    "raise SystemExit(0)",
    "raise GeneratorExit",
    "raise StopIteration",
    "raise MemoryError",
    "raise EOFError",
    "raise BrokenPipeError(32, 'Broken pipe')",
    "exit(0)",
    "def f(): return f()\nf()",
    "assert False",
]
RETURNED = [  # in place of what a function returns
    "None", "0", "'text'", "b'bytes'", "(1, 2)", "()", "[]", "{}", "iter(range(3))", "(n for n in range(3))",
    "object()",
    "NotImplemented", "...", "float('nan')", "1 + 2j", "10**5000", "-0.0", "True", "type", "sys", "lambda: 0",
    "[RESULT] * 7", "(RESULT,)", "RESULT[::-1] if isinstance(RESULT, tuple) else RESULT[None]", "np.float64(1)",
    "tuple([None] * 4)", "tuple(['a'] * 4)", "tuple([object()] * 4)", "[[[[[[[[[[[[1]]]]]]]]]]]]", "[0.5] * 10**6",
    "(lambda l: (l.append(l), l)[1])([])", "tuple(each(lambda a: a.astype(object)))",
    "tuple(each(lambda a: a.astype(complex)))", "tuple(each(lambda a: a.astype('>f8')))",
    "tuple(each(lambda a: a.astype(np.longdouble)))", "tuple(each(lambda a: a.astype('U5')))",
    "tuple(each(lambda a: a.astype(np.int8)))", "tuple(each(lambda a: a.astype('M8[s]', casting='unsafe')))",
    "tuple(each(lambda a: np.broadcast_to(np.float64(0), (10**6, 10**6))))",
    "tuple(each(lambda a: np.broadcast_to(np.float32(0), (1,) * 30 + (2**40,))))",
    "tuple(each(lambda a: np.zeros((0,) * 5)))", "tuple(each(lambda a: a[..., None]))",
    "tuple(each(lambda a: np.ma.masked_all(a.shape)))", "tuple(each(lambda a: np.asmatrix(a.reshape(1, -1))))",
    "tuple(each(lambda a: np.zeros(a.shape, [('f', float)])))", "tuple(each(lambda a: a.tolist()))",
    "tuple(each(lambda a: a.view(Liar)))", "tuple(each(lambda a: Pretender()))", "tuple(each(lambda a: memoryview(a)))",
    "tuple(each(lambda a: np.full(a.shape, np.nan)))", "tuple(each(lambda a: a * 0))", "tuple(each(lambda a: a + 1))",
    "tuple(each(lambda a: np.full(a.shape, 1e308)))", "tuple(each(lambda a: (a.__setitem__(..., 0), a)[1]))",
]  # fmt: skip
HEAD = """\
import builtins, ctypes, gc, json, os, random, resource, signal, socket, struct, subprocess, sys, threading, time, types
import warnings
import numpy as np
random.seed({seed})

class Liar(np.ndarray):
    def __array_finalize__(self, obj): pass
    def tobytes(self, *a): raise RuntimeError("no")
    shape = property(lambda self: (1, 2, 3))
    dtype = property(lambda self: np.dtype(object))

class Pretender:
    __class__ = np.ndarray
    shape, dtype, nbytes = (2, 3), np.dtype(float), 48
    def __array__(self, *a, **k): raise ValueError("no array")

def each_of(result, change):
    items = result if isinstance(result, tuple) else (result,)
    return [change(a) if isinstance(a, np.ndarray) else a for a in items]
"""
WRAPPED = """
inner_{layer}, calls_{layer} = {function}, [0]
def {function}(*arguments):
    RESULT = inner_{layer}(*arguments)
    calls_{layer}[0] += 1
    if calls_{layer}[0] >= {call}:
        each = lambda change: each_of(RESULT, change)
{code}
    return RESULT
"""
BUGS = [  # in tests/test_cli.py's implementation: old, new
    (" * m / (m - 1)", ""),
    ("x_hat * along(dgamma, g) / m", "x_hat * along(dgamma, g)"),
    ("along(var, x) + eps)", "along(var, x)) + eps"),
    ("(1 - momentum) * running_mean + momentum * mean", "momentum * running_mean + (1 - momentum) * mean"),
]
SHADOWS = ("random", "types", "json", "struct", "numpy", "refnorm", "socket", "signal", "typing", "ctypes")


class Hostile(NamedTuple):
    """A target: its source, files beside it, and the exit statuses that it may get."""

    source: str
    beside: tuple[str, ...]
    may: frozenset[int]


def hostile(number: int, seed: int) -> Hostile:
    """Make one target."""
    from test_cli import GOOD

    rng = random.Random(f"{seed} {number}")
    right = rng.random() < 0.5
    base = GOOD if right else GOOD.replace(*rng.choice(BUGS))
    assert right or base != GOOD
    head, body, tail, may = HEAD.format(seed=number), base, "", {0} if right else {1}
    for layer in range(rng.choice([1, 1, 2, 3])):
        kind = rng.random()
        if kind < 0.55:
            effect, code = rng.choice(OUTSIDE)
        elif kind < 0.7:
            effect, code = SPOIL, rng.choice(RAISED)
        else:
            effect, code = SPOIL, f"RESULT = {rng.choice(RETURNED)}"
        at_import = "RESULT" not in code and rng.random() < 0.3
        if at_import:
            head += code + "\n"
            may |= {2} if effect == SPOIL else set()
        else:
            function = rng.choice(["train", "infer", "backward"])
            indented = "\n".join("        " + line for line in code.splitlines())
            tail += WRAPPED.format(layer=layer, function=function, call=rng.choice([1, 1, 2, 30]), code=indented)
        may |= MAY[effect] - (set() if right else {0})
    beside = tuple(rng.sample(SHADOWS, 3)) if rng.random() < 0.15 else ()
    return Hostile(head + body + tail, beside, frozenset(may))


def left(tag: str) -> list[int]:
    """Return the processes that carry a tag in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{TAG}={tag}".encode() in _environment(folder).split(b"\0"):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def _environment(process: Path) -> bytes:
    """Return the environment of a process; one that has just begun its program has none for a moment."""
    for _ in range(5):
        environment = (process / "environ").read_bytes()
        if environment or not os.readlink(process / "exe"):
            break
        time.sleep(0.01)
    return environment


def tried(number: int, seed: int) -> tuple[int, str, str, float]:
    """Put one target on trial; return its number, what was concluded, what is wrong with that ("" if nothing)."""
    target, began, fault = hostile(number, seed), time.monotonic(), ""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "target.py"
        file.write_text(target.source, encoding="utf-8")
        for name in target.beside:
            (Path(folder) / f"{name}.py").write_text("raise ImportError('a file of the target, not the library')")
        tag = uuid.uuid4().hex
        os.environ[TAG] = tag
        try:
            door = DOORS.get(number % 10, _called)
            status, said = door(file, TIMEOUT if 2 in target.may else PATIENT)
        except BaseException:
            status, fault = -1, traceback.format_exc()
        finally:
            del os.environ[TAG]
        if "Traceback" in (said if not fault else "") or "a fault of refnorm" in (said if not fault else ""):
            fault = said
        elif not fault and status is not None and status not in target.may:
            fault = f"status {status}, and only {sorted(target.may)} can be right\n{said}"
        until = time.monotonic() + 2
        while (alive := left(tag)) and time.monotonic() < until:
            time.sleep(0.05)  # the kernel takes a moment
        if alive:
            fault += f"\nleft alive: {alive}"
            for pid in alive:
                with contextlib.suppress(OSError):
                    os.kill(pid, 9)
    return number, str(status), fault, time.monotonic() - began


def _called(file: Path, timeout: float) -> tuple[int, str]:
    from refnorm.oracle.apart import check_apart
    from refnorm.oracle.ask.target import TargetError

    try:
        report = check_apart(str(file), "torch", dtypes=("float64",), timeout=timeout)
    except TargetError as error:
        return 2, str(error)
    return (0 if report.conforms else 1 if report.findings else 2), str(report)


def _command(file: Path, timeout: float) -> tuple[int, str]:
    options = ["--convention", "torch", "--dtypes", "float64", "--timeout", str(timeout)]
    command = [sys.executable, "-m", "refnorm", "check", str(file), *options]
    done = subprocess.run(command, capture_output=True, timeout=900, check=False)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode != 2 or done.stderr.count(b"\n") <= 2, said
    return done.returncode, said


def _measured(file: Path, timeout: float) -> tuple[int | None, str]:
    """Identify, check gradients, measure digits: whatever is found, it must be said without a fault."""
    from refnorm.oracle.apart import gradcheck_apart, identify_apart, numerics_apart
    from refnorm.oracle.ask.target import TargetError

    try:
        ask = random.Random(file.read_text(encoding="utf-8")).choice([identify_apart, gradcheck_apart, numerics_apart])
        return None, str(ask(str(file), timeout=timeout))
    except TargetError as error:
        return None, str(error)


DOORS = {0: _command, 3: _measured, 6: _measured}


def main() -> int:
    """Try many, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one number: print its source, and try it")
    options = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    if options.only is not None:
        print(hostile(options.only, options.seed).source)
        print(*tried(options.only, options.seed), sep="\n")
        return 0
    ended, faults = Counter[str](), 0
    with Pool(2, maxtasksperchild=50) as pool:
        jobs = [pool.apply_async(tried, (number, options.seed)) for number in range(options.count)]
        for done, job in enumerate(jobs, start=1):
            number, status, fault, _ = job.get()
            ended[status] += 1
            if fault:
                faults += 1
                print(f"== {number}\n{fault}", flush=True)
            counts = ", ".join(f"{n} with status {status}" for status, n in sorted(ended.items()))
            if done % 100 == 0 or done == options.count:
                print(f"{done} of {options.count} targets: {counts}, {faults} faults", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
