// Build arguments before the first stage: the predefined ones, and those ARG defines there.
import type { Platform } from '../../src/llb/index.js';
import { formatPlatform, formatPlatformFull } from '../../src/llb/index.js';
import type { ProxyEnv } from '../../src/llb/index.js';
import { at } from '../errors.js';
import type { ArgCommand } from '../instructions/types.js';
import type { Lex } from '../shell/lex.js';
import type { ArgInfo } from './outline.js';

export type Args = ReadonlyMap<string, string>;
export type BuildArgs = Readonly<Record<string, string>>;

export interface Platforms {
	readonly target: Platform;
	readonly build: Platform;
	/** No target was asked for. */
	readonly implicitTarget: boolean;
}

/** A value given on the command line; prototype members are no arguments. */
export function buildArg(args: BuildArgs, name: string): string | undefined {
	return Object.hasOwn(args, name) ? args[name] : undefined;
}

/** Arguments every Dockerfile has, unless the command line says otherwise. */
export function predefinedArgs({ target, build }: Platforms, buildArgs: BuildArgs, stage: string): Args {
	const defaults: readonly (readonly [string, string])[] = [
		['BUILDPLATFORM', formatPlatform(build)],
		['BUILDOS', build.os],
		['BUILDOSVERSION', build.osVersion ?? ''],
		['BUILDARCH', build.architecture],
		['BUILDVARIANT', build.variant ?? ''],
		['TARGETPLATFORM', formatPlatformFull(target)],
		['TARGETOS', target.os],
		['TARGETOSVERSION', target.osVersion ?? ''],
		['TARGETARCH', target.architecture],
		['TARGETVARIANT', target.variant ?? ''],
		['TARGETSTAGE', stage || 'default'],
	];
	return new Map(defaults.map(([name, value]) => [name, buildArg(buildArgs, name) ?? value]));
}

/**
 * Adds what the ARGs before the first FROM define.
 * @throws LocationError when a default cannot be expanded.
 */
export function globalArgs(predefined: Args, lex: Lex, commands: readonly ArgCommand[], buildArgs: BuildArgs): { args: Args; infos: Map<string, ArgInfo> } {
	const args = new Map(predefined);
	const infos = new Map<string, ArgInfo>();
	for (const command of commands) {
		for (const definition of command.args) {
			const { key } = definition;
			const deps = new Set<string>();
			let value = buildArg(buildArgs, key);
			if (value === undefined && definition.value !== undefined) {
				const text = definition.value;
				const result = at(command.location, () => lex.process(text, args));
				value = result.text;
				for (const name of result.matched) deps.add(name);
				// `ARG A=$A-x` depends on what the A before it depends on.
				if (deps.delete(key)) for (const name of infos.get(key)?.deps ?? []) deps.add(name);
			}
			if (value !== undefined) {
				args.delete(key);
				args.set(key, value);
			}
			infos.set(key, {
				definition: { ...definition, ...(value === undefined ? {} : { value }) }, value: value ?? '', location: command.location, deps,
			});
		}
	}
	return { args, infos };
}

/** Proxies of the command line: given to processes but not part of what they are known by. */
export function proxyEnv(buildArgs: BuildArgs): ProxyEnv | undefined {
	const members = { http_proxy: 'httpProxy', https_proxy: 'httpsProxy', ftp_proxy: 'ftpProxy', no_proxy: 'noProxy', all_proxy: 'allProxy' } as const;
	const proxy: ProxyEnv = { httpProxy: '', httpsProxy: '', ftpProxy: '', noProxy: '', allProxy: '' };
	let found = false;
	for (const name of Object.keys(buildArgs).sort()) {
		const lower = name.toLowerCase();
		if (!Object.hasOwn(members, lower)) continue;
		proxy[members[lower as keyof typeof members]] = buildArgs[name] ?? '';
		found = true;
	}
	return found ? proxy : undefined;
}
