// RUN.
import type { Constraints, MountOptions, SecretOptions, SshOptions, State } from '../../src/llb/index.js';
import { basePath, cleanPath, fileActions, joinPath, NetMode, scratch, SecurityMode } from '../../src/llb/index.js';
import type { Location } from '../errors.js';
import type { Image } from '../image.js';
import type { Mount } from '../instructions/mount.js';
import type { RunCommand } from '../instructions/types.js';
import { chompHeredoc, tryParseHeredoc } from '../parser/heredoc.js';
import type { Env } from '../shell/lex.js';
import { formatList, quote } from '../text/format.js';
import type { ConvertContext } from './context.js';
import { located } from './context.js';
import { commit, runMessage } from './history.js';
import { expandForDisplay, stepName, summarizeHeredoc, uppercaseCommand } from './names.js';
import type { StageState } from './stage.js';

const networks = { default: undefined, none: NetMode.NONE, host: NetMode.HOST } as const;
const securities = { sandbox: SecurityMode.SANDBOX, insecure: SecurityMode.INSECURE } as const;

/** The shell in front of a command line in shell form. */
export function withShell(image: Image, args: readonly string[]): string[] {
	const shell = image.config.Shell?.length ? image.config.Shell : image.os === 'windows' ? ['cmd', '/S', '/C'] : ['/bin/sh', '-c'];
	return [...shell, args.join(' ')];
}

interface Prepared {
	readonly args: readonly string[];
	readonly mounts: readonly MountOptions[];
	/** Added to the step's name. */
	readonly suffix: string;
}

/** The command line, with what its here-documents turn it into. */
function prepare(stage: StageState, command: RunCommand): Prepared {
	const { files, args } = command;
	const [first] = files;
	if (!first) return { args, mounts: [], suffix: '' };
	if (args.length !== 1 || !command.shell) throw new Error(`parsing produced an invalid run command: ${formatList(args)}`);
	if (!tryParseHeredoc(args[0] ?? '')) {
		// For the shell to make sense of: the documents follow the command as in a script.
		return { args: [(args[0] ?? '') + files.map(({ content, name }) => `\n${content}${name}`).join('')], mounts: [], suffix: '' };
	}
	const content = first.chomp ? chompHeredoc(first.content) : first.content;
	const suffix = ` (${summarizeHeredoc(first.content)})`;
	if (stage.image.os === 'windows' || !content.startsWith('#!')) return { args: [content], mounts: [], suffix };
	// A script with an interpreter of its own becomes a file.
	const source = scratch().file(fileActions().mkfile(first.name, 0o755, Buffer.from(content)), internal(stage, 'preparing inline document'));
	return { args: [joinPath('/dev/pipes/', first.name)], mounts: [{ target: '/dev/pipes/', source, selector: '/', readonly: true }], suffix };
}

export function internal(stage: StageState, text: string): Constraints {
	return { name: `[internal] ${text}`, ...(stage.platform ? { platform: stage.platform } : {}) };
}

interface Mounts {
	readonly mounts: MountOptions[];
	readonly secrets: SecretOptions[];
	readonly ssh: SshOptions[];
}

/** Owner and mode, with defaults, when any is given. */
function attributes({ uid, gid, mode }: Mount, defaultMode: number): { uid: number; gid: number; mode: number } | undefined {
	if (uid === undefined && gid === undefined && mode === undefined) return undefined;
	return { uid: uid ?? 0, gid: gid ?? 0, mode: mode ?? defaultMode };
}

function secretMount(stage: StageState, mount: Mount, location: Location): SecretOptions {
	const id = mount.source || mount.id || basePath(mount.target);
	const target = mount.target || (mount.env === undefined ? `/run/secrets/${basePath(id)}` : undefined);
	if (!stage.outline.secrets.has(id)) stage.outline.secrets.set(id, { required: mount.required, location });
	return {
		id,
		optional: !mount.required,
		...(target === undefined ? {} : { target }),
		...(mount.env === undefined ? {} : { env: mount.env }),
		...attributes(mount, 0o400),
	};
}

function sshMount(stage: StageState, mount: Mount, location: Location): SshOptions {
	if (mount.source !== '') throw new Error('ssh does not support source');
	const id = mount.id || 'default';
	if (!stage.outline.ssh.has(id)) stage.outline.ssh.set(id, { required: mount.required, location });
	return { id: mount.id, optional: !mount.required, target: mount.target, ...attributes(mount, 0o600) };
}

/** A directory of its own inside a cache, so that owner and mode can be set. */
function cacheDirectory(source: State, { uid, gid, mode }: { uid: number; gid: number; mode: number }): State {
	return source.file(fileActions().mkdir('/cache', mode, { owner: { user: uid, group: gid } }), { name: '[internal] setting cache mount permissions' });
}

function fileMount(stage: StageState, mount: Mount, source: StageState | undefined, context: ConvertContext): MountOptions {
	if (source && !source.dispatched) {
		throw new Error(`cannot mount from stage ${quote(mount.from)} to ${quote(mount.target)}, stage needs to be defined before current command`);
	}
	const { dir } = stage.state.meta;
	const target = cleanPath(mount.target).startsWith('/') ? mount.target : joinPath('/', dir, mount.target);
	if (target === '/') throw new Error(`invalid mount target ${quote(target)}`);
	const path = joinPath('/', mount.source);
	let state = mount.type === 'tmpfs' ? scratch() : source?.state ?? context.buildContext;
	let selector = path === '/' ? '' : path;
	const owned = attributes(mount, 0o755);
	if (selector === '' && owned) {
		state = cacheDirectory(state, owned);
		selector = '/cache';
	}
	(source?.paths ?? stage.contextPaths).add(path);
	const noOutput = mount.type === 'bind' && !mount.readonly && context.supports('exec.mount.bind.readwrite-nooutput');
	return {
		target,
		source: state,
		selector,
		readonly: mount.readonly,
		noOutput,
		...(mount.type === 'tmpfs' ? { tmpfs: { size: mount.size } } : {}),
		...(mount.type === 'cache'
			? { cache: { id: `${context.config.cacheIdNamespace}/${mount.id || cleanPath(mount.target)}`, sharing: mount.sharing ?? 'shared' } }
			: {}),
	};
}

function runMounts(stage: StageState, command: RunCommand, mounts: readonly Mount[], sources: readonly StageState[], context: ConvertContext): Mounts {
	const result: Mounts = { mounts: [], secrets: [], ssh: [] };
	mounts.forEach((mount, i) => {
		if (mount.type === 'secret') result.secrets.push(secretMount(stage, mount, command.location));
		else if (mount.type === 'ssh') result.ssh.push(sshMount(stage, mount, command.location));
		else result.mounts.push(fileMount(stage, mount, mount.from !== '' || mount.type === 'cache' ? sources[i] : undefined, context));
	});
	return result;
}

/** Environment for names and messages, with values of secrets hidden. */
function maskSecrets(env: Env, mounts: readonly Mount[]): Env {
	const secret = new Map(mounts.flatMap((mount): [string, string][] => (mount.type === 'secret' && mount.env !== undefined ? [[mount.env, '****']] : [])));
	if (secret.size === 0) return env;
	return { get: (name) => secret.get(name) ?? env.get(name), keys: () => new Set([...env.keys(), ...secret.keys()]) };
}

/** Runs a command in a stage. */
export function dispatchRun(stage: StageState, command: RunCommand, mounts: readonly Mount[], sources: readonly StageState[], context: ConvertContext): void {
	const { config } = context;
	if (command.devices.length > 0) throw new Error('device feature is only supported in Dockerfile frontend 1.14.0-labs or later');
	// A command may use any file.
	stage.paths.add('/');
	const prepared = prepare(stage, command);
	const args = command.shell ? withShell(stage.image, prepared.args) : prepared.args;
	const { env, platform } = stage.state.meta;
	const requested = runMounts(stage, command, mounts, sources, context);
	const shm: MountOptions[] = config.shmSize > 0 && context.supports('exec.mount.tmpfs.size')
		? [{ target: '/dev/shm', source: scratch(), tmpfs: { size: config.shmSize } }] : [];
	const shownLex = context.lex.with({ rawQuotes: true, skipUnsetEnv: true });
	const shown = uppercaseCommand(expandForDisplay(shownLex, command.code + prepared.suffix, maskSecrets(env, mounts)));
	const network = networks[command.network];
	const state = stage.state.withMeta({
		extraHosts: [...stage.state.meta.extraHosts, ...config.extraHosts],
		ulimits: context.supports('exec.meta.ulimit') ? config.ulimits : [],
		cgroupParent: context.supports('exec.meta.cgroup.parent') ? config.cgroupParent : '',
	});
	const result = state.run({
		args,
		name: stepName(stage, shown, config.multiPlatform ? platform : undefined, env),
		description: { 'com.docker.dockerfile.v1.command': command.code },
		mounts: [...prepared.mounts, ...requested.mounts, ...shm],
		secrets: requested.secrets,
		ssh: requested.ssh,
		security: securities[command.security],
		...(network === undefined ? {} : { network }),
		...(stage.ignoreCache ? { ignoreCache: true } : {}),
		...(context.proxyEnv ? { proxyEnv: context.proxyEnv } : {}),
		...(config.linuxResources && context.supports('exec.meta.linux.resources') ? { linuxResources: config.linuxResources } : {}),
		...located(context, command.location),
	});
	stage.state = stage.state.withOutput(result.root.output);
	commit(stage, context, `RUN ${runMessage(args, stage.buildArgs, env)}`, { layer: true, step: true });
}
