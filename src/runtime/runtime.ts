// Runs containers for one builder instance.
import { randomBytes } from 'node:crypto';
import { access, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { kernelHasX32, makeWorkingDir, prepareRootfs, removeStubs, type MountPoint } from '../native/runtime.js';
import { defaultCapabilities, ownCapabilities } from './capabilities.js';
import { isUnified, missingParents, removeCgroup, removeDirectories } from './cgroups.js';
import type { ContainerMount, ContainerSpec, NetworkMode, ProcessSpec } from './container-spec.js';
import { insecureDevices } from './devices.js';
import { ExitError, failureText } from './exit-error.js';
import { defaultHostname, hostsFile } from './hosts.js';
import { createdCgroupsFile, layoutOf, type Layout } from './layout.js';
import { withOpenFiles } from './limits.js';
import { ociConfig, ociProcess, type HostPart } from './oci-config.js';
import { hostPath, resolvConf, sourcePath, type DnsConfig } from './resolv-conf.js';
import { deleteContainer, runContainer, whenRunning, type RuncOptions } from './runc.js';
import { defaultSeccompProfile, type SeccompProfile } from './seccomp.js';
import { needsUserFiles, resolveUser } from './user.js';

export class Runtime {
	readonly #layout: Layout;
	#directories: Promise<unknown> | undefined;
	#secrets: Promise<string> | undefined;
	#seccomp: Promise<SeccompProfile | undefined> | undefined;
	readonly #files = new Map<string, Promise<string>>();

	/** @param dir for this instance alone; made at the first run, and `recoverContainers(dir)` clears what a killed instance left */
	constructor(dir: string, private readonly dns?: DnsConfig) {
		this.#layout = layoutOf(dir);
	}

	/**
	 * Runs a process in a new container and waits for its end; nothing of the container remains.
	 * Throws ExitError when it ends with another code than `validExitCodes`, an Error with BuildKit's
	 * wording when it cannot be started, and `signal.reason` when aborted.
	 */
	async run(spec: ContainerSpec): Promise<void> {
		spec.signal?.throwIfAborted();
		try {
			await this.#run({ ...spec, cwd: path.posix.resolve('/', spec.cwd) });
		} catch (error) {
			spec.signal?.throwIfAborted();
			if (error instanceof ExitError || !(error instanceof Error)) throw error;
			throw new Error(failureText(spec.args, error.message), { cause: error });
		}
	}

	/** A directory on tmpfs for files that must not reach a disk; only root can enter it. Gone after `close`. */
	secretDirectory(): Promise<string> {
		this.#secrets ??= mkdir(this.#layout.secrets, { recursive: true, mode: 0o700 }).then(() => this.#layout.secrets);
		return this.#secrets;
	}

	/** Removes the instance's cgroup and files. No container may run any more. */
	async close(): Promise<void> {
		const { runcRoot, bundles, files, cgroup, secrets } = this.#layout;
		if (this.#directories) await removeCgroup(cgroup);
		await Promise.all([runcRoot, bundles, files, secrets].map((dir) => rm(dir, { recursive: true, force: true })));
	}

	async #run(spec: ContainerSpec): Promise<void> {
		await (this.#directories ??= this.#makeDirectories());
		const id = randomBytes(12).toString('hex');
		const bundle = path.join(this.#layout.bundles, id);
		const [rootfs, host, oomKillsBefore] = await Promise.all([
			prepareRootfs({
				root: spec.rootfs,
				mountPoints: mountPoints(spec.mounts),
				recursive: spec.removeMountStubsRecursive === true,
				files: needsUserFiles(spec.user) ? ['/etc/passwd', '/etc/group'] : [],
				cwd: spec.cwd,
			}),
			this.#hostPart(spec),
			oomKills(),
			mkdir(bundle, { mode: 0o711 }),
		]);
		let createdCgroups: readonly string[] = [];
		try {
			const user = resolveUser(spec.user, rootfs.files[0]?.toString('utf8'), rootfs.files[1]?.toString('utf8'));
			if (!rootfs.cwdExists) await this.#makeWorkingDir(spec, user);
			const cgroupsPath = cgroupPath(this.#layout.cgroup, spec.cgroupParent, id);
			if (spec.cgroupParent) createdCgroups = await rememberCreatedCgroups(bundle, cgroupsPath);
			await writeFile(path.join(bundle, 'config.json'), ociConfig(spec, { ...host, user, cgroupsPath }));
			spec.signal?.throwIfAborted();
			let ended = false;
			const exitCode = await this.#runc(spec, {
				bundle,
				id,
				onStart: (process) => spec.onStart?.({ ...process, exec: (other) => this.#exec(other, { bundle, id, rootfs: spec.rootfs, isEnded: () => ended }) }),
			}).finally(() => { ended = true; });
			await this.#clearContainer(id, cgroupsPath, exitCode);
			await checkExit(spec, exitCode, oomKillsBefore);
		} finally {
			await Promise.all([
				rootfs.stubs.length > 0 ? removeStubs(spec.rootfs, rootfs.stubs) : undefined,
				removeDirectories(createdCgroups),
				rm(bundle, { recursive: true, force: true }),
			]);
		}
	}

	/** Runs one more process in a container. Its errors are worded as those of `run`. */
	async #exec(spec: ProcessSpec & Pick<ContainerSpec, 'security'>, { bundle, id, rootfs, isEnded }: ExecTarget): Promise<void> {
		const cwd = path.posix.resolve('/', spec.cwd);
		const running = await whenRunning({ root: this.#layout.runcRoot, id }, isEnded);
		if (!running) throw new Error(failureText(spec.args, 'the container has ended'));
		const [state, ulimits, capabilities, oomKillsBefore] = await Promise.all([
			prepareRootfs({ root: rootfs, mountPoints: [], recursive: false, files: needsUserFiles(spec.user) ? ['/etc/passwd', '/etc/group'] : [], cwd }),
			withOpenFiles([]),
			spec.security === 'insecure' ? ownCapabilities() : [],
			oomKills(),
		]);
		const user = resolveUser(spec.user, state.files[0]?.toString('utf8'), state.files[1]?.toString('utf8'));
		if (!state.cwdExists) await this.#makeWorkingDir({ rootfs, cwd }, user);
		const file = path.join(bundle, `process-${randomBytes(6).toString('hex')}.json`);
		await writeFile(file, ociProcess({ ...spec, cwd }, { user, ulimits, capabilities }));
		spec.signal?.throwIfAborted();
		try {
			const exitCode = await this.#runc(spec, { bundle, id, process: file, onStart: spec.onStart });
			await checkExit(spec, exitCode, oomKillsBefore);
		} catch (error) {
			if (error instanceof ExitError || !(error instanceof Error)) throw error;
			throw new Error(failureText(spec.args, error.message), { cause: error });
		} finally {
			await rm(file, { force: true });
		}
	}

	/** Exit code, 128 and more for a signal. */
	async #runc(spec: Omit<ProcessSpec, 'onStart'>, target: Pick<RuncOptions, 'bundle' | 'id' | 'process' | 'onStart'>): Promise<number> {
		const exit = await runContainer({
			...target,
			root: this.#layout.runcRoot,
			input: spec.input,
			signal: spec.signal,
			onOutput: (stream, data) => spec.onOutput?.(stream, data),
		});
		return exit.signal === 0 ? exit.code : 128 + exit.signal;
	}

	async #makeWorkingDir(spec: Pick<ContainerSpec, 'rootfs' | 'cwd'>, user: { readonly uid: number; readonly gid: number }): Promise<void> {
		try {
			await makeWorkingDir(spec.rootfs, spec.cwd, user.uid, user.gid);
		} catch (error) {
			throw new Error(`failed to create working directory ${spec.cwd}: ${(error as Error).message}`, { cause: error });
		}
	}

	/** What does not depend on the root file system. */
	async #hostPart(spec: ContainerSpec): Promise<Omit<HostPart, 'user' | 'cgroupsPath'>> {
		const insecure = spec.security === 'insecure';
		const [ulimits, resolvers, cgroupNamespace, seccomp, capabilities, devices] = await Promise.all([
			withOpenFiles(spec.ulimits),
			containerResolvConf(spec.network, this.dns),
			isUnified(),
			insecure ? undefined : (this.#seccomp ??= seccompProfile()),
			insecure ? ownCapabilities() : [],
			insecure ? insecureDevices() : [],
		]);
		const [resolvConfFile, hosts] = await Promise.all([
			this.#file('resolv.conf', resolvers),
			this.#file('hosts', hostsFile(spec.hostname || defaultHostname, spec.extraHosts)),
		]);
		return { ulimits, resolvConf: resolvConfFile, hosts, cgroupNamespace, ...(seccomp && { seccomp }), capabilities, devices };
	}

	/** runc cleans up after itself, but when it was killed or failed half-way, or another one was that joined the container. */
	async #clearContainer(id: string, cgroupsPath: string, exitCode: number): Promise<void> {
		const isLeft = await access(path.join(this.#layout.runcRoot, id)).then(() => true, () => false);
		if (isLeft) await deleteContainer(this.#layout.runcRoot, id);
		if ((isLeft || exitCode !== 0) && cgroupsPath.startsWith('/')) await removeCgroup(cgroupsPath);
	}

	/** A file with this content: steps with the same hosts or resolvers share one. */
	#file(name: string, content: string): Promise<string> {
		const key = `${name}\0${content}`;
		let file = this.#files.get(key);
		if (!file) {
			const target = path.join(this.#layout.files, `${name}.${this.#files.size}`);
			file = writeFile(target, content, { mode: 0o644 }).then(() => target);
			this.#files.set(key, file);
		}
		return file;
	}

	async #makeDirectories(): Promise<void> {
		const { runcRoot, bundles, files } = this.#layout;
		await Promise.all([mkdir(runcRoot, { recursive: true, mode: 0o711 }), mkdir(bundles, { recursive: true, mode: 0o711 }), mkdir(files, { recursive: true, mode: 0o755 })]);
	}
}

/** A container to run something in. */
interface ExecTarget {
	readonly bundle: string;
	readonly id: string;
	readonly rootfs: string;
	readonly isEnded: () => boolean;
}

async function checkExit({ signal, validExitCodes, args }: Omit<ProcessSpec, 'onStart'>, exitCode: number, oomKillsBefore: string | undefined): Promise<void> {
	signal?.throwIfAborted();
	const valid = validExitCodes?.length ? validExitCodes : [0];
	if (valid.includes(exitCode)) return;
	throw new ExitError(args, { exitCode, oomKilled: exitCode === 137 && (await oomKills()) !== oomKillsBefore });
}

/**
 * The mount points that have to exist in the root file system and are not runc's own business (it makes /proc,
 * /sys and /dev, which stay). What lies inside another mount is made there, by runc; resolv.conf and hosts
 * are mounted before all others.
 */
function mountPoints(mounts: readonly ContainerMount[]): readonly MountPoint[] {
	const own = mounts.map(({ destination, type, source }) => ({ path: path.posix.resolve('/', destination), source: type === 'bind' ? source : '' }));
	const others = [...own.map((point) => point.path), '/proc', '/sys', '/dev'];
	const etc = ['/etc/resolv.conf', '/etc/hosts'].map((file) => ({ path: file, source: '/dev/null' }));
	return [...etc, ...own.filter((point) => !others.some((other) => point.path.startsWith(`${other}/`)))];
}

/** With a parent chosen by the user as BuildKit has it, `obd` in the place of `buildkit`. */
function cgroupPath(own: string, parent: string | undefined, id: string): string {
	if (!parent) return `${own}/${id}`;
	if (parent.includes('.slice') && parent.endsWith(':')) return parent + id;
	return path.posix.join('/', parent, 'obd', id);
}

/** Which parents of the cgroup runc will make; on disk too, for a recovery. */
async function rememberCreatedCgroups(bundle: string, cgroupsPath: string): Promise<readonly string[]> {
	if (!cgroupsPath.startsWith('/')) return [];
	const created = await missingParents(cgroupsPath);
	await writeFile(path.join(bundle, createdCgroupsFile), JSON.stringify({ cgroupsPath, created }));
	return created;
}

async function containerResolvConf(network: NetworkMode, dns: DnsConfig | undefined): Promise<string> {
	const host = await readIfThere(hostPath);
	const source = sourcePath(host, network);
	return resolvConf(source === hostPath ? host : await readIfThere(source), network, dns);
}

async function readIfThere(file: string): Promise<string> {
	return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
		if (error.code === 'ENOENT') return '';
		throw error;
	});
}

async function seccompProfile(): Promise<SeccompProfile | undefined> {
	const supported = await stat('/proc/sys/kernel/seccomp').then(() => true, () => false);
	return supported ? defaultSeccompProfile(defaultCapabilities, process.arch, kernelHasX32()) : undefined;
}

/** How many processes the kernel has killed for want of memory. */
async function oomKills(): Promise<string | undefined> {
	return /^oom_kill (\d+)$/m.exec(await readFile('/proc/vmstat', 'utf8').catch(() => ''))?.[1];
}
