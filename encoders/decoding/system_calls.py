"""What a process that decodes strangers' media may ask of the kernel: a seccomp filter that lists it.

Resource limits keep libraries from opening anything; code that has taken over a process can raise its own soft
limits. A filter cannot be taken off again: what is not on the list fails with ``EPERM``, and what only an attacker
would try (starting a program or process, sockets, tracing, other users) ends the process. See seccomp(2) and the
kernel's ``Documentation/userspace-api/seccomp_filter.rst``.

The filter is compiled by libseccomp (through pyseccomp), which Debian, Ubuntu and Fedora always have installed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import termios
from dataclasses import dataclass, field

__all__ = ["SystemCallFilter", "filters_are_there"]

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_INSTRUCTION_BYTES = 8  # struct sock_filter
_CLONE_THREAD_OF_THIS_PROCESS = 0x00010000 | 0x00000100  # CLONE_THREAD, CLONE_VM

# Reading the medium that is open already, writing the answer, memory, threads of this process, time.
_ALLOWED = """
    read readv pread64 preadv preadv2 lseek write writev recvmsg recvfrom close dup poll ppoll select pselect6 fstat
    mmap munmap mprotect mremap madvise brk membarrier mincore
    futex futex_waitv set_robust_list get_robust_list set_tid_address rseq sched_yield sched_getaffinity
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack rt_sigpending rt_sigtimedwait pause restart_syscall
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time times
    getpid gettid getppid getuid geteuid getgid getegid getrandom sysinfo uname getcpu
    getrlimit setrlimit prlimit64 getrusage exit exit_group
"""
# Nothing here does any of it; who tries is not a decoder any more.
_DEADLY = """
    execve execveat fork vfork socket socketpair connect bind listen accept accept4 sendto sendmsg sendmmsg ptrace
    process_vm_readv process_vm_writev pidfd_open pidfd_getfd pidfd_send_signal io_uring_setup bpf userfaultfd
    perf_event_open mount umount2 pivot_root chroot setns unshare keyctl add_key request_key init_module
    finit_module delete_module kexec_load reboot setuid setgid setresuid setresgid setreuid setregid
"""


def filters_are_there() -> bool:
    """Whether this machine has libseccomp and knows its architecture."""
    try:
        import pyseccomp  # noqa: F401 - whether it can be imported is the question
    except (ImportError, OSError, RuntimeError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Program:
    """``struct sock_fprog``, and the memory it points to."""

    structure: ctypes.Structure
    instructions: ctypes.Array[ctypes.c_char] = field(repr=False)


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


class SystemCallFilter:
    """A compiled filter. Compile it while files can be opened; ``close_behind`` any number of forked processes."""

    def __init__(self) -> None:
        """Raises ``OSError`` or ``RuntimeError`` where libseccomp is missing or does not know this machine."""
        self._program = _loadable(_compiled())
        self._libc = ctypes.CDLL(None, use_errno=True)

    def close_behind(self) -> None:
        """From here on this process, all its threads to come included, has what the list gives. For good."""
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1, 0)
        self._prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(self._program.structure))

    def _prctl(self, option: int, first: int, second: object) -> None:
        if self._libc.prctl(option, ctypes.c_ulong(first), second, 0, 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))


def _compiled() -> bytes:
    """The filter as BPF instructions."""
    import pyseccomp as seccomp

    made = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))

    def rule(action: object, name: str, *conditions: object) -> None:
        try:
            made.add_rule(action, name, *conditions)
        except (OSError, RuntimeError, ValueError) as error:
            # A call that this architecture or this libseccomp does not know cannot be made by its name either.
            if isinstance(error, OSError) and error.errno not in (errno.EDOM, errno.EINVAL, errno.EFAULT):
                raise

    for name in _ALLOWED.split():
        rule(seccomp.ALLOW, name)
    for name in _DEADLY.split():
        rule(seccomp.KILL_PROCESS, name)
    # glibc's threads ask for clone3, whose flags a filter cannot see, and take clone where there is none.
    rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    same = _CLONE_THREAD_OF_THIS_PROCESS
    rule(seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, same, same))
    for command in (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL):
        rule(seccomp.ALLOW, "fcntl", seccomp.Arg(1, seccomp.EQ, command))
    rule(seccomp.ALLOW, "ioctl", seccomp.Arg(1, seccomp.EQ, termios.TCGETS))
    with open(os.memfd_create("filter", os.MFD_CLOEXEC), "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def _loadable(instructions: bytes) -> _Program:
    memory = ctypes.create_string_buffer(instructions, len(instructions))
    structure = _FilterProgram(len(instructions) // _INSTRUCTION_BYTES, ctypes.addressof(memory))
    return _Program(structure, memory)
