"""Programs that a code verifier must survive, by what they are after.

Each prints `reached` if it gets there, and then does no harm: signals to others
have number 0, files are opened and not written, bombs are bounded. PORT (where
someone listens on loopback), FOLDER (writable outside), PID (of the run), and
SECRET (a variable of the run's environment) are to be filled in.
"""

_SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def syscall(*numbers):
  if libc.syscall(*[ctypes.c_long(n) for n in numbers]) >= 0:
    print('reached')
"""

NETWORK = {
  'connect': """
import socket
socket.create_connection(('127.0.0.1', PORT), timeout=1)
print('reached')
""",
  'datagram': """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))
print('reached')
""",
  'unix_socket': """
import socket
socket.socket(socket.AF_UNIX).connect('\\0any')
print('reached')
""",
  'resolve_name': """
import socket
print('reached', socket.getaddrinfo('example.com', 80))
""",
  'download': """
import urllib.request
urllib.request.urlopen('http://127.0.0.1:PORT/', timeout=1)
print('reached')
""",
  'raw_socket_call': _SYSCALL + 'syscall(41, 2, 1, 0); syscall(198, 2, 1, 0)',
  'ask_the_kernel_to_connect': _SYSCALL + 'syscall(425, 8, 0)',
}

FILES = {
  'read_passwords': "print('reached', open('/etc/passwd').read())",
  'read_environment_of_others': """
for pid in ('self', '1', 'PID'):
  try:
    print('reached', open(f'/proc/{pid}/environ').read())
  except OSError:
    pass
""",
  'write_outside': "open('FOLDER/stolen', 'w').write('x'); print('reached')",
  'write_to_the_root': """
import os
os.mkdir('/stolen')
os.rmdir('/stolen')
print('reached')
""",
  'poison_the_library': """
import os
open(os.path.join(os.path.dirname(os.__file__), 'os.py'), 'a').close()
print('reached')
""",
  'change_modes_of_the_library': """
import os
os.chmod(os.__file__, os.stat(os.__file__).st_mode)
print('reached')
""",
  'climb_out': """
import os
for _ in range(20):
  os.chdir('..')
print('reached' if {'etc', 'proc', 'sys'} & set(os.listdir('.')) else '')
""",
  'follow_a_link': """
import os
os.symlink('/etc/passwd', 'link')
print('reached', open('link').read())
""",
  'make_a_device': """
import os
os.mknod('disk', 0o60666, os.makedev(8, 0))
print('reached')
""",
  'mount': _SYSCALL + "print('reached' if not libc.mount(b'p', b'/tmp',"
  " b'proc', 0, None) else '')",
  'change_the_root': "import os\nos.chroot('/usr')\nprint('reached')",
  'fill_the_disk': """
for number in range(100):
  with open(f'file{number}', 'wb') as file:
    file.write(bytes(1 << 20))
print('reached')
""",
  'one_large_file': """
with open('file', 'wb') as file:
  file.truncate(1 << 30)
print('reached')
""",
  'many_files': """
for number in range(10_000):
  open(str(number), 'w').close()
print('reached')
""",
  'inherited_descriptors': """
import os
for number in range(3, 1024):
  try:
    os.fstat(number)
    print('reached', number)
  except OSError:
    pass
""",
}

PROCESSES = {
  'fork_bomb': """
import os
for _ in range(8):
  os.fork()
  print('reached', flush=True)
""",
  'patient_fork_bomb': """
import os
for _ in range(1000):
  try:
    if not os.fork():
      os._exit(0)
    print('reached', flush=True)
  except OSError:
    pass
""",
  'daemon': """
import os, time
if not os.fork():
  os.setsid()
  print('reached', flush=True)
  time.sleep(10)
""",
  'shell': """
import subprocess
subprocess.run(['/bin/sh', '-c', 'echo reached'])
""",
  'spawn': """
import os, sys
os.posix_spawn(sys.executable, [sys.executable, '-c', 'print("reached")'], {})
""",
  'multiprocessing': """
import multiprocessing
multiprocessing.get_context('fork').Process(target=print).start()
print('reached')
""",
  'raw_fork_calls': _SYSCALL
  + """
import platform
for number in {'x86_64': (57, 58, 435)}.get(platform.machine(), (435,)):
  syscall(number, 0, 0)
syscall({'x86_64': 56}.get(platform.machine(), 220), 17, 0, 0, 0, 0)
""",
  'threads_without_end': """
import threading, time
threading.stack_size(1 << 16)
for _ in range(2000):
  threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
""",
}

SIGNALS = {
  'kill_the_parent': """
import os, signal, time
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(0.1)
print('reached' if os.getppid() != 1 else '')
""",
  'kill_the_run': "import os\nos.kill(PID, 0)\nprint('reached')",
  'kill_everyone': "import os\nos.kill(-1, 0)\nprint('reached')",
  'stop_the_parent': """
import os, signal
os.kill(os.getppid(), signal.SIGSTOP)
os.killpg(0, signal.SIGTERM)
""",
  'stop_itself': 'import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)',
  'deaf': """
import signal
for number in range(1, 32):
  try:
    signal.signal(number, signal.SIG_IGN)
  except OSError:
    pass
while True:
  pass
""",
}

RIGHTS = {
  'become_root': "import os\nos.setuid(0)\nprint('reached')",
  'new_namespaces': _SYSCALL + 'syscall(272, 0x10000000); syscall(97, 1 << 28)',
  'raise_a_limit': """
import resource
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print('reached')
""",
  'trace_the_parent': _SYSCALL + 'syscall(101, 16, 1); syscall(117, 16, 1)',
  'keys_of_the_user': _SYSCALL + 'syscall(250, 0, -3); syscall(219, 0, -3)',
  'programs_in_the_kernel': _SYSCALL + 'syscall(321, 5, 0); syscall(280, 5, 0)',
  'shared_memory': _SYSCALL + 'syscall(29, 0, 1 << 30, 0o1600)',
  'anonymous_file': "import os\nos.memfd_create('x')\nprint('reached')",
}

HUNGER = {
  'memory': "x = bytearray(1 << 30)\nprint('reached')",
  'memory_by_and_by': """
x = [bytes(1 << 20) for _ in range(1024)]
print('reached')
""",
  'mapped_memory': """
import mmap
mmap.mmap(-1, 1 << 30)
print('reached')
""",
  'endless_loop': 'while True: pass',
  'sleep': "import time\ntime.sleep(1000)\nprint('reached')",
  'exponent_tower': '9 ** 9 ** 9 ** 9',
  'backtracking': "import re\nre.match('(a+)+b', 'a' * 60)",
  'endless_output': "while True: print('x' * 10_000)",
  'endless_bytes': "import os\nwhile True: os.write(1, b'\\xff\\0' * 30_000)",
  'endless_errors': "import os\nwhile True: os.write(2, b'x' * 60_000)",
  'recursion': """
import sys
sys.setrecursionlimit(10 ** 9)
def f(): f()
f()
""",
  'crash': 'import ctypes\nctypes.string_at(0)',
  'compile_bomb': "eval('(' * 100_000)",
}

# What wants the score: none of it knows the answer.
CHEATS = {
  'exit': 'import sys\nsys.exit(0)',
  'exit_at_once': 'import os\nos._exit(0)',
  'exit_later': """
import atexit, os
atexit.register(os._exit, 0)
def f(x): pass
""",
  'equal_to_everything': """
class Equal:
  def __eq__(self, other): return True
  def __repr__(self): return 'Equal()'
def f(x): return Equal()
""",
  'patch_the_checker': """
import ast, builtins
builtins.AssertionError = Exception
ast.literal_eval = lambda text: f(0)
def f(x): return 'right'
""",
  'patch_repr': """
import builtins
builtins.repr = lambda value: 'True'
def f(x): return True
""",
  'read_the_tests': """
import os
for folder, _, files in os.walk('/tmp'):
  for name in files:
    print(open(os.path.join(folder, name)).read())
def f(x): return open('/tmp/program.py').read().split('==')[-1]
""",
  'search_memory': """
import gc, sys
def f(x):
  found = [o for o in gc.get_objects() if isinstance(o, (str, dict))]
  frame = sys._getframe()
  while frame:
    found += frame.f_globals.values()
    frame = frame.f_back
  if '816254' in str([o for o in found if o is not found]):
    print('reached')
  return 816
""",
  'read_the_environment': """
import os
if 'SECRET' in os.environ or os.environ.keys() - {'PYTHONHASHSEED', 'LC_CTYPE'}:
  print('reached')
""",
  'pass_a_note_to_the_next_test': """
import os
if os.path.exists('note'):
  print('reached')
open('note', 'w').write('x')
""",
  'swallow_the_question': "print('True')\n'''",
  'nesting_for_the_reader': """
def f(x): pass
print = lambda text, p=print: p('(' * 50_000)
""",
}

PROGRAMS = NETWORK | FILES | PROCESSES | SIGNALS | RIGHTS | HUNGER | CHEATS
