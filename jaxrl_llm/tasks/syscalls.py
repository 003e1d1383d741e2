"""A filter of the system calls of a sandboxed program.

A seccomp program in classic BPF, put together here because the kernel needs
no library for it. It denies what a program that only computes never asks for:
other processes, sockets, shared memory outside of its limit, keys, other
processes' memory, and the young interfaces in which holes are found.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

# From asm/unistd_64.h and asm-generic/unistd.h: None is no call there.
_COLUMNS = ('x86_64', 'aarch64')
_DENIED = {
  'fork': (57, None),
  'vfork': (58, None),
  'socket': (41, 198),
  'ptrace': (101, 117),
  'process_vm_readv': (310, 270),
  'process_vm_writev': (311, 271),
  'unshare': (272, 97),
  'setns': (308, 268),
  'mount': (165, 40),
  'umount2': (166, 39),
  'pivot_root': (155, 41),
  'open_tree': (428, 428),
  'move_mount': (429, 429),
  'fsopen': (430, 430),
  'fsmount': (432, 432),
  'mount_setattr': (442, 442),
  'keyctl': (250, 219),
  'add_key': (248, 217),
  'request_key': (249, 218),
  'bpf': (321, 280),
  'perf_event_open': (298, 241),
  'userfaultfd': (323, 282),
  'io_uring_setup': (425, 425),
  'memfd_create': (319, 279),
  'memfd_secret': (447, 447),
  'shmget': (29, 194),
  'msgget': (68, 186),
  'semget': (64, 190),
  'mq_open': (240, 180),
}
_CLONE = (56, 220)
_CLONE3 = 435
_THREAD = 0x10000  # CLONE_THREAD
_AUDIT = (0xC000003E, 0xC00000B7)
_X32 = 0x40000000  # The first number of the x32 twin of each call.

# struct seccomp_data: where its fields are.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


def number(name: str) -> int:
  """The number of a denied system call on this machine.

  Raises:
    OSError: the architecture is not one of those of the table, or has no such
      call.
  """
  found = _DENIED[name][_column()]
  if found is None:
    raise OSError(errno.ENOSYS, f'{platform.machine()} has no call {name}')
  return found


def _column() -> int:
  machine = platform.machine()
  if machine not in _COLUMNS:
    raise OSError(
      errno.ENOSYS,
      f'the system calls of {machine} are not in the table, only those of '
      f'{" and ".join(_COLUMNS)}',
    )
  return _COLUMNS.index(machine)


def program() -> bytes:
  """The filter, as an array of `struct sock_filter`.

  Threads may start, processes may not: `clone` is allowed with CLONE_THREAD
  alone. `clone3` hides its flags from a filter, so it claims to be unknown,
  and the C library turns to `clone`. Calls of another architecture (32 bit,
  x32) end the process or are denied.
  """
  column = _column()
  deny = (_RETURN, 0, 0, _ERROR | errno.EPERM)
  steps = [
    (_LOAD, 0, 0, _ARCHITECTURE),
    (_EQUAL, 1, 0, _AUDIT[column]),
    (_RETURN, 0, 0, _KILL),
    (_LOAD, 0, 0, _NUMBER),
    (_AT_LEAST, 0, 1, _X32),
    deny,
    (_EQUAL, 0, 1, _CLONE3),
    (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
  ]
  for numbers in _DENIED.values():
    found = numbers[column]
    if found is not None:
      steps += [(_EQUAL, 0, 1, found), deny]
  steps += [
    (_EQUAL, 0, 3, _CLONE[column]),
    (_LOAD, 0, 0, _FIRST_ARGUMENT),
    (_ANY_BIT, 1, 0, _THREAD),
    deny,
    (_RETURN, 0, 0, _ALLOW),
  ]
  return b''.join(struct.pack('=HBBI', *step) for step in steps)


def install(libc: ctypes.CDLL, steps: bytes) -> None:
  """Puts the filter on this process, for ever and for all it starts.

  Raises:
    OSError: the kernel has no seccomp filters.
  """
  array = ctypes.create_string_buffer(steps, len(steps))

  class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('steps', ctypes.c_void_p)]

  filled = Program(len(steps) // 8, ctypes.addressof(array))
  for arguments in (
    (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    (_PR_SET_SECCOMP, _FILTER, ctypes.byref(filled), 0, 0),
  ):
    if libc.prctl(*arguments):
      raise OSError(ctypes.get_errno(), 'prctl')
