// Which system calls a sandboxed build step may make: the rules of the default profile that BuildKit and
// Docker share, as data. seccomp.ts picks from it what fits the machine and the capabilities.

/** One condition on an argument of a call. */
export interface ArgumentTest {
	readonly index: number;
	readonly op: 'SCMP_CMP_EQ' | 'SCMP_CMP_LT' | 'SCMP_CMP_GT' | 'SCMP_CMP_MASKED_EQ';
	readonly value: number;
	/** With MASKED_EQ: what the argument, masked with `value`, has to be. */
	readonly valueTwo?: number;
}

export interface SyscallRule {
	/** Separated by blanks. Names a machine does not have are skipped by runc. */
	readonly calls: string;
	/** All of these have to hold; a rule without tests allows the call with any arguments. */
	readonly tests?: readonly ArgumentTest[];
	/** errno the calls fail with; absent: they are allowed. */
	readonly errno?: number;
	/** Only on these machines (libseccomp's names). */
	readonly arches?: readonly string[];
	readonly notArches?: readonly string[];
	/** Only with (or without) this capability. */
	readonly capability?: string;
	readonly withoutCapability?: string;
}

/** For these calls, any argument. */
const always = `
	accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres
	clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2
	dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
	exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
	fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
	futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid
	getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
	getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat
	inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
	ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen
	listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create
	memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
	mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
	name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
	pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read
	readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat
	renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
	rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
	sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
	seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
	set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32
	setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt
	shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink
	symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
	timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask
	uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev`;

const enosys = 38;
const afAlg = 38;
const afVsock = 40;

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. */
const newNamespaceFlags = 0x7e020000;

const noNewNamespace = (index: number): readonly ArgumentTest[] => [{ index, op: 'SCMP_CMP_MASKED_EQ', value: newNamespaceFlags, valueTwo: 0 }];
const argument = (op: ArgumentTest['op'], value: number): readonly ArgumentTest[] => [{ index: 0, op, value }];

export const syscallRules: readonly SyscallRule[] = [
	{ calls: always },
	// Allowed since Linux 4.8, where ptrace can no longer get around seccomp.
	{ calls: 'process_vm_readv process_vm_writev ptrace' },
	// Every address family but AF_ALG and AF_VSOCK.
	{ calls: 'socket', tests: argument('SCMP_CMP_LT', afAlg) },
	{ calls: 'socket', tests: argument('SCMP_CMP_EQ', afAlg + 1) },
	{ calls: 'socket', tests: argument('SCMP_CMP_GT', afVsock) },
	// PER_LINUX, PER_LINUX32, UNAME26 with either, and asking for the current one.
	...[0x0, 0x8, 0x20000, 0x20008, 0xffffffff].map((persona) => ({ calls: 'personality', tests: argument('SCMP_CMP_EQ', persona) })),
	{ calls: 'swapcontext sync_file_range2', arches: ['ppc64le'] },
	{ calls: 'arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2', arches: ['arm', 'arm64'] },
	{ calls: 'arch_prctl', arches: ['amd64', 'x32'] },
	{ calls: 'modify_ldt', arches: ['amd64', 'x32', 'x86'] },
	{ calls: 's390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr', arches: ['s390', 's390x'] },
	{ calls: 'riscv_flush_icache', arches: ['riscv64'] },
	{ calls: 'open_by_handle_at', capability: 'CAP_DAC_READ_SEARCH' },
	{
		calls: `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
			lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
			sethostname setns syslog umount umount2 unshare`,
		capability: 'CAP_SYS_ADMIN',
	},
	// Processes and threads, but no namespaces; s390 has clone's arguments in another order.
	{ calls: 'clone', tests: noNewNamespace(0), notArches: ['s390', 's390x'], withoutCapability: 'CAP_SYS_ADMIN' },
	{ calls: 'clone', tests: noNewNamespace(1), arches: ['s390', 's390x'], withoutCapability: 'CAP_SYS_ADMIN' },
	// clone3's flags are behind a pointer, where seccomp cannot look: libc falls back to clone.
	{ calls: 'clone3', errno: enosys, withoutCapability: 'CAP_SYS_ADMIN' },
	{ calls: 'reboot', capability: 'CAP_SYS_BOOT' },
	{ calls: 'chroot', capability: 'CAP_SYS_CHROOT' },
	{ calls: 'delete_module finit_module init_module', capability: 'CAP_SYS_MODULE' },
	{ calls: 'acct', capability: 'CAP_SYS_PACCT' },
	{ calls: 'kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace', capability: 'CAP_SYS_PTRACE' },
	{ calls: 'ioperm iopl', capability: 'CAP_SYS_RAWIO' },
	{ calls: 'clock_settime clock_settime64 settimeofday stime', capability: 'CAP_SYS_TIME' },
	{ calls: 'vhangup', capability: 'CAP_SYS_TTY_CONFIG' },
	{ calls: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node', capability: 'CAP_SYS_NICE' },
	{ calls: 'syslog', capability: 'CAP_SYSLOG' },
	{ calls: 'bpf', capability: 'CAP_BPF' },
	{ calls: 'perf_event_open', capability: 'CAP_PERFMON' },
];
