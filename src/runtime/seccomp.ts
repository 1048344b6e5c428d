// The seccomp section of a container's configuration.
import { syscallRules, type SyscallRule } from './seccomp-table.js';

interface SeccompSyscall {
	readonly names: readonly string[];
	readonly action: string;
	readonly errnoRet?: number;
	readonly args?: readonly { readonly index: number; readonly value: number; readonly valueTwo?: number; readonly op: string }[];
}

export interface SeccompProfile {
	readonly defaultAction: string;
	readonly defaultErrnoRet: number;
	readonly architectures: readonly string[];
	readonly syscalls: readonly SeccompSyscall[];
}

const eperm = 1;

/** libseccomp's name of a machine by Node's `process.arch`, and the system call tables its kernel serves. */
const machines: Readonly<Record<string, { readonly name: string; readonly tables: readonly string[] }>> = {
	x64: { name: 'amd64', tables: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'] },
	arm64: { name: 'arm64', tables: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'] },
	arm: { name: 'arm', tables: [] },
	riscv64: { name: 'riscv64', tables: ['SCMP_ARCH_RISCV64'] },
	s390x: { name: 's390x', tables: ['SCMP_ARCH_S390X', 'SCMP_ARCH_S390'] },
	ppc64: { name: 'ppc64le', tables: [] },
	loong64: { name: 'loongarch64', tables: ['SCMP_ARCH_LOONGARCH64'] },
};

/**
 * The default profile for a process with these capabilities: what no rule allows fails with EPERM.
 * @param arch Node's `process.arch`
 * @param x32 whether the kernel serves the x32 table. Where it does not, rules for it would change nothing
 *   but runc's start: libseccomp takes 6 ms of the 33 ms of a container to compile them.
 */
export function defaultSeccompProfile(capabilities: readonly string[], arch: string, x32: boolean): SeccompProfile {
	const machine = machines[arch] ?? { name: arch, tables: [] };
	return {
		defaultAction: 'SCMP_ACT_ERRNO',
		defaultErrnoRet: eperm,
		architectures: machine.tables.filter((table) => x32 || table !== 'SCMP_ARCH_X32'),
		syscalls: syscallRules.filter((rule) => applies(rule, machine.name, capabilities)).map(toSyscall),
	};
}

function applies(rule: SyscallRule, machine: string, capabilities: readonly string[]): boolean {
	if (rule.arches && !rule.arches.includes(machine)) return false;
	if (rule.notArches?.includes(machine)) return false;
	if (rule.capability !== undefined && !capabilities.includes(rule.capability)) return false;
	return rule.withoutCapability === undefined || !capabilities.includes(rule.withoutCapability);
}

function toSyscall(rule: SyscallRule): SeccompSyscall {
	return {
		names: rule.calls.trim().split(/\s+/),
		action: rule.errno === undefined ? 'SCMP_ACT_ALLOW' : 'SCMP_ACT_ERRNO',
		...(rule.errno !== undefined && { errnoRet: rule.errno }),
		...(rule.tests && { args: rule.tests }),
	};
}
