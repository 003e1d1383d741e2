"""The process in which `Sandbox` runs programs, one after the other.

It moves into namespaces of its own (user, mounts, processes, network, IPC,
host name), where the file system holds the interpreter's libraries, read-only,
and nothing else. Its child, the first process in there, takes requests as
JSON lines and answers each with a line. When that child ends, for whatever
reason, the kernel ends everything in its process namespace.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
import time

from jaxrl_llm.tasks import syscalls

# CLONE_NEW*: mounts, cgroups, host name, IPC, users, processes, network.
_NAMESPACES = (
  0x00020000 | 0x02000000 | 0x04000000 | 0x08000000
  | 0x10000000 | 0x20000000 | 0x40000000
)  # fmt: skip
_NOSUID, _NODEV, _BIND, _REC, _PRIVATE = 2, 4, 4096, 16384, 1 << 18
_DETACH = 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_AT_RECURSIVE = 0x8000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4

_NOBODY = 65534
_WORK = '/tmp'
_WORK_BYTES, _WORK_FILES = 16 << 20, 256
FILE_BYTES = 1 << 20
_OPEN_FILES, _THREADS = 64, 64
# Equal programs must give equal outputs, and the order of a set is one.
_ENVIRONMENT = {'PYTHONHASHSEED': '0'}

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments) -> None:
  """A function of the C library that returns 0, or an error that names it."""
  if getattr(_libc, name)(*arguments):
    number = ctypes.get_errno()
    told = ' '.join(str(a) for a in (name, *arguments))
    raise OSError(number, f'{told}: {os.strerror(number)}')


def _mount(source, target, kind, flags, data=None) -> None:
  texts = (t if t is None else t.encode() for t in (source, target, kind))
  flags = ctypes.c_ulong(flags)
  _call('mount', *texts, flags, data if data is None else data.encode())


def _restrict(path: str, attributes: int, how: int = _AT_RECURSIVE) -> None:
  """mount_setattr: puts attributes on a mount and on those below it."""
  struct_mount_attr = struct.pack('=QQQQ', attributes, 0, 0, 0)
  _call(
    'syscall', ctypes.c_long(syscalls.number('mount_setattr')), -100,
    path.encode(), how, struct_mount_attr, ctypes.c_size_t(32),
  )  # fmt: skip


def _die_with_parent() -> None:
  _call('prctl', _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _may_map(user: int) -> bool:
  """Whether this process may give another user to what it starts."""
  if os.geteuid():
    return False
  with open('/proc/self/uid_map') as file:  # a container may have few users
    ranges = [map(int, line.split()) for line in file]
  return any(first <= user < first + count for first, _, count in ranges)


def _enter_namespaces() -> None:
  """Leaves those of the parent; here we may mount, and programs are nobody.

  The kernel does not count the threads of its root, so a jail that root starts
  gives programs another user. Others have only themselves to give.
  """
  user, group = os.geteuid(), os.getegid()
  alone = not _may_map(_NOBODY)
  maps = [('setgroups', 'deny')] if alone else []
  for name, own in (('uid_map', user), ('gid_map', group)):
    other = f'0 {own} 1\n{_NOBODY} {_NOBODY} 1'
    ours = f'{_NOBODY} {own} 1' if alone else other
    maps.append((name, ours))
  jail = os.getpid()
  waiting, entered = os.pipe()
  helper = os.fork()
  if not helper:
    # Who maps a user beside its own has to stand outside.
    try:
      os.close(entered)
      os.read(waiting, 1)
      for name, text in maps:
        with open(f'/proc/{jail}/{name}', 'w') as file:
          file.write(text)
      os._exit(0)
    except OSError as error:
      os._exit(error.errno or 1)
    finally:
      os._exit(1)
  try:
    _call('unshare', _NAMESPACES)
  finally:
    os.close(entered)  # It reads the end of the pipe, or an error of ours.
    code = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
  if code:
    raise OSError(code, f'users cannot be mapped: {os.strerror(code)}')


def _libraries() -> list[str]:
  """What an interpreter without packages reads, shortest first."""
  prefix = os.path.realpath(sys.base_prefix)
  paths = {'/lib', '/lib64', '/usr/lib', '/usr/lib64', '/dev/null'}
  paths |= {f'{prefix}/lib', f'{prefix}/{sys.platlibdir}'}
  paths |= {os.path.realpath(sys.executable)}
  return sorted(filter(os.path.lexists, paths))


def _change_root() -> None:
  """Leaves a root with the libraries in it, all of it read-only."""
  libraries = _libraries()  # While they are where the interpreter says.
  _mount(None, '/', None, _REC | _PRIVATE)
  _mount('root', '/tmp', 'tmpfs', _NOSUID | _NODEV, 'size=64k,mode=755')
  os.chdir('/tmp')
  os.mkdir('old')
  number = ctypes.c_long(syscalls.number('pivot_root'))
  _call('syscall', number, b'.', b'old')
  os.chdir('/')
  for path in libraries:
    if os.path.lexists(path):
      continue  # Inside of one that is there already.
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(f'/old{path}'):
      os.symlink(os.readlink(f'/old{path}'), path)
      continue
    if os.path.isdir(f'/old{path}'):
      os.mkdir(path)
    else:
      os.close(os.open(path, os.O_CREAT))
    _mount(f'/old{path}', path, None, _BIND | _REC)
    device = path == '/dev/null'
    _restrict(
      path, _ATTR_NOSUID | (0 if device else _ATTR_NODEV | _ATTR_RDONLY)
    )
  _call('umount2', b'/old', _DETACH)
  os.rmdir('/old')
  os.mkdir(_WORK)
  _restrict('/', _ATTR_RDONLY, 0)


@contextlib.contextmanager
def _private_directory():
  owner = f'uid={_NOBODY},gid={_NOBODY},mode=700'
  options = f'size={_WORK_BYTES},nr_inodes={_WORK_FILES},{owner}'
  _mount('work', _WORK, 'tmpfs', _NOSUID | _NODEV, options)
  try:
    yield
  finally:
    _call('umount2', _WORK.encode(), _DETACH)


def _limit(seconds: float, memory: int) -> None:
  for name, value in (
    ('AS', memory),
    ('CORE', 0),
    ('CPU', int(seconds) + 1),
    ('FSIZE', FILE_BYTES),
    ('MEMLOCK', 0),
    ('MSGQUEUE', 0),
    ('NOFILE', _OPEN_FILES),
    ('NPROC', _THREADS),
  ):
    limit = getattr(resource, f'RLIMIT_{name}')
    _, hard = resource.getrlimit(limit)
    if hard != resource.RLIM_INFINITY:
      value = min(value, hard)
    resource.setrlimit(limit, (value, value))


def _become(file: str, stdin: int, stdout: int, request, steps: bytes):
  """Replaces this process by the program, which keeps nothing of it."""
  os.setsid()
  os.chdir(_WORK)
  nothing = os.open('/dev/null', os.O_RDWR)
  # All other descriptors close by themselves: none of them is inheritable.
  for number, descriptor in enumerate((stdin, stdout, nothing)):
    os.dup2(descriptor, number)
  _limit(request['seconds'], request['memory'])
  if os.geteuid() != _NOBODY:
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
  syscalls.install(_libc, steps)
  # No site, no packages, no bytecode; nobody is not root, so that the new
  # image has no capability left.
  flags = ('-s', '-S', '-P', '-B', '-X', 'utf8')
  os.execve(sys.executable, [sys.executable, *flags, file], _ENVIRONMENT)


def _start(file: str, stdin: int, stdout: int, request, steps: bytes) -> int:
  """The process of the program.

  Raises:
    OSError: it did not come to the program; the message says why.
  """
  failed, failing = os.pipe()
  child = os.fork()
  if not child:
    try:
      _become(file, stdin, stdout, request, steps)
    except BaseException as error:
      os.write(failing, repr(error).encode())
    finally:
      os._exit(127)
  os.close(failing)
  with open(failed, 'rb') as pipe:
    why = pipe.read()
  if why:
    raise OSError(why.decode())
  return child


def _wait(child: int, seconds: float) -> int | None:
  """Exit code, negative for a signal; None where the time was not enough."""
  descriptor = os.pidfd_open(child)
  try:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(1000 * seconds):
      return None
  finally:
    os.close(descriptor)
  return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _end_all() -> None:
  """Ends every process here but this one.

  Raises:
    RuntimeError: outside of a namespace, where "here" is the whole machine.
  """
  if os.getpid() != 1:
    raise RuntimeError('not the first process of a process namespace')
  while True:
    with contextlib.suppress(ProcessLookupError):
      os.kill(-1, signal.SIGKILL)
    try:
      os.wait()
    except ChildProcessError:
      return


def _run(request, steps: bytes) -> dict:
  """The answer to one request; whatever the program started has ended."""
  stdin, stdout = os.memfd_create('stdin'), os.memfd_create('stdout')
  try:
    with _private_directory():
      file = f'{_WORK}/program.py'
      with open(file, 'w', errors='surrogatepass') as program:
        program.write(request['program'])
      with open(stdin, 'wb', closefd=False) as text:
        text.write(request['stdin'].encode(errors='surrogatepass'))
      os.lseek(stdin, 0, os.SEEK_SET)
      try:
        child = _start(file, stdin, stdout, request, steps)
        code = _wait(child, request['seconds'])
      finally:
        _end_all()
    output = os.pread(stdout, FILE_BYTES, 0).decode(errors='replace')
    return {'code': code, 'output': output}
  finally:
    os.close(stdin)
    os.close(stdout)


def _say(answer) -> None:
  sys.stdout.write(json.dumps(answer) + '\n')
  sys.stdout.flush()


def _serve(steps: bytes) -> None:
  """The first process of the namespace: a line in, a line out.

  Raises:
    OSError: it is not the first, or cannot have a root of its own.
  """
  if os.getpid() != 1:
    raise OSError('the namespace of processes is not a new one')
  _die_with_parent()
  # Programs run under the same user: none may look into this process.
  _call('prctl', _PR_SET_DUMPABLE, 0, 0, 0, 0)
  _change_root()
  _say({'ready': True})
  for line in sys.stdin:
    start = time.monotonic()
    try:
      answer = _run(json.loads(line), steps)
    except OSError as error:
      answer = {'error': str(error)}
    _say(answer | {'seconds': time.monotonic() - start})


def main() -> None:
  """Serves until its standard input closes, or says why it cannot."""
  try:
    steps = syscalls.program()
    os.umask(0o022)  # What is made for programs they have to be able to read.
    _die_with_parent()
    _enter_namespaces()
    child = os.fork()
    if child:
      os.waitpid(child, 0)
      return
    _serve(steps)
  except OSError as error:
    _say({'error': str(error)})
  except (KeyboardInterrupt, BrokenPipeError):
    return


if __name__ == '__main__':
  main()
