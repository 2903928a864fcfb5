"""
What the system unit takes from the daemon, taken by hand, as no system manager can run inside a test: a read-only
machine but for the data folder, a /tmp of its own, other users' processes hidden, no capabilities, another user, and
the unit's own filter of system calls. To be run as root in a mount namespace of its own:

    systemSandbox.py DATA_DIR UID FAMILIES FILTERS COMMAND ARGUMENT...

FAMILIES and FILTERS are the values of RestrictAddressFamilies= and SystemCallFilter=, the latter with | between.
"""
import ctypes
import os
import socket
import subprocess
import sys

data_dir, uid, families, filters = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
command = sys.argv[5:]


def mount(*arguments):
    subprocess.run(['mount', *arguments], check=True)


def calls_of(name):
    """The system calls of one of systemd's sets, and of the sets in it."""
    listed = subprocess.run(
        ['systemd-analyze', '--no-pager', 'syscall-filter', name], capture_output=True, text=True, check=True
    ).stdout
    calls = set()
    for line in listed.splitlines():
        word = line.strip()
        if word == '' or word.startswith('#') or not line.startswith(' '):
            continue
        calls |= calls_of(word) if word.startswith('@') else {word}
    return calls


def allowed_calls():
    allowed = set()
    for text in filters.split('|'):
        for name in text.removeprefix('~').split():
            calls = calls_of(name)
            allowed = allowed - calls if text.startswith('~') else allowed | calls
    return allowed


def shut_off():
    mount('--make-rprivate', '/')
    mount('--bind', data_dir, '/mnt')
    mount('-t', 'tmpfs', 'tmpfs', '/tmp')
    os.makedirs(data_dir)
    mount('--move', '/mnt', data_dir)
    mount('-o', 'remount,bind,ro', '/')
    mount('-t', 'proc', '-o', 'hidepid=invisible', 'proc', '/proc')


class Comparison(ctypes.Structure):
    _fields_ = [('argument', ctypes.c_uint), ('operator', ctypes.c_int), ('a', ctypes.c_uint64), ('b', ctypes.c_uint64)]


def filter_calls(calls):
    """seccomp_init(3) and the pages beside it."""
    library = ctypes.CDLL('libseccomp.so.2')
    library.seccomp_init.restype = ctypes.c_void_p
    refuse, allow, equal = ctypes.c_uint32(0x00050000 | 1), ctypes.c_uint32(0x7FFF0000), 4
    context = ctypes.c_void_p(library.seccomp_init(refuse))
    for name in sorted(calls):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            continue
        rules = [None]
        if name == 'socket':
            rules = [Comparison(0, equal, int(getattr(socket, family)), 0) for family in families.split()]
        for rule in rules:
            count = 0 if rule is None else 1
            comparisons = None if rule is None else (Comparison * 1)(rule)
            if library.seccomp_rule_add_array(context, allow, number, count, comparisons) != 0:
                raise RuntimeError(f'no rule for {name}')
    if library.seccomp_load(context) != 0:
        raise RuntimeError('the filter is not taken')


calls = allowed_calls()
shut_off()
# From here on as that user, for whom no capability is left.
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
filter_calls(calls)
os.execv(command[0], command)
