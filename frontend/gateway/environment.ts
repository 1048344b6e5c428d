// What a builder tells a frontend it starts: environment variables, as BuildKit's gateway sets them.
import type { Platform } from '../../src/llb/index.js';
import { hostPlatform } from '../../src/llb/index.js';

export interface Environment {
	/** Options of the build, by name. */
	readonly opts: Readonly<Record<string, string>>;
	readonly sessionId: string;
	/** Of the builder's first worker: what BUILDPLATFORM says. */
	readonly buildPlatform: Platform;
}

const optionPrefix = 'BUILDKIT_FRONTEND_OPT_';

/** @throws Error when BUILDKIT_WORKERS is not what it should be. */
export function readEnvironment(env: NodeJS.ProcessEnv): Environment {
	const opts = Object.entries(env).filter(([name]) => name.startsWith(optionPrefix)).map(([, text = '']): [string, string] => {
		const [key = '', ...value] = text.split('=');
		return [key, value.join('=')];
	});
	return {
		opts: Object.fromEntries(opts),
		sessionId: env['BUILDKIT_SESSION_ID'] ?? '',
		buildPlatform: workerPlatform(env['BUILDKIT_WORKERS'] ?? '') ?? hostPlatform(),
	};
}

/** Workers are a JSON list of objects in Go's spelling; the first platform of the first counts. */
function workerPlatform(json: string): Platform | undefined {
	if (json === '') return undefined;
	const platform = first(member(first(parse(json)), 'platforms'));
	const text = (name: string): string => {
		const value = member(platform, name);
		return typeof value === 'string' ? value : '';
	};
	if (text('os') === '' || text('architecture') === '') return undefined;
	return { os: text('os'), architecture: text('architecture'), ...(text('variant') === '' ? {} : { variant: text('variant') }) };
}

function parse(json: string): unknown {
	try {
		return JSON.parse(json);
	} catch (cause) {
		throw new Error(`BUILDKIT_WORKERS is not JSON: ${json}`, { cause });
	}
}

function first(list: unknown): unknown {
	return Array.isArray(list) ? (list as unknown[])[0] : undefined;
}

/** A member whatever the case of its name, as Go reads JSON. */
function member(object: unknown, name: string): unknown {
	if (typeof object !== 'object' || object === null) return undefined;
	return Object.entries(object).find(([key]) => key.toLowerCase() === name)?.[1];
}
