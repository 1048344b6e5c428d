// Flags that say how the containers of RUN are set up, as the frontend's attributes.
import { isIP } from 'node:net';

/** `host:ip`, `host=ip`, `host=[::1]`, `host=ip,ip` to the frontend's `host=ip,host=ip`. */
export function extraHosts(values: readonly string[]): string {
	return values.flatMap((value) => {
		const equals = value.includes('=') ? value.indexOf('=') : value.indexOf(':');
		const host = value.slice(0, Math.max(equals, 0));
		const addresses = value.slice(equals + 1);
		if (equals < 0 || host === '' || addresses === '') throw new Error(`invalid host ${value}`);
		// Containers are in the host's own network (or in none): the way to the host is loopback.
		if (addresses === 'host-gateway') return `${host}=127.0.0.1`;
		return addresses.split(',').map((address) => {
			const bare = /^\[.+\]$/.test(address) ? address.slice(1, -1) : address;
			if (isIP(bare) === 0) throw new Error(`invalid host ${value}`);
			return `${host}=${bare}`;
		});
	}).join(',');
}

const ulimitNames = new Set(['as', 'core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice', 'nofile', 'nproc', 'rss', 'rtprio', 'rttime', 'sigpending', 'stack']);

/** `name=soft[:hard]` to the frontend's `name=soft:hard,...`, sorted by name; the last value of a name counts. */
export function ulimits(values: readonly string[]): string {
	const limits = new Map(values.map((value) => argumentOf('ulimit', value, ulimit)));
	return [...limits].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, limit]) => `${name}=${limit}`).join(',');
}

/** Parses the value of a flag; an error says which flag it was, as docker's parser does. */
export function argumentOf<T>(flag: string, value: string, parse: (value: string) => T): T {
	try {
		return parse(value);
	} catch (error) {
		throw new Error(`invalid argument ${JSON.stringify(value)} for "--${flag}" flag: ${(error as Error).message}`, { cause: error });
	}
}

function ulimit(value: string): readonly [string, string] {
	const equals = value.indexOf('=');
	if (equals < 0) throw new Error(`invalid ulimit argument: ${value}`);
	const name = value.slice(0, equals);
	const text = value.slice(equals + 1);
	if (!ulimitNames.has(name)) throw new Error(`invalid ulimit type: ${name}`);
	const limits = text.split(':');
	if (limits.length > 2) throw new Error(`too many limit value arguments - ${text}, can only have up to two, \`soft[:hard]\``);
	const [soft = 0, hard = soft] = limits.map(integer);
	if (hard !== -1 && soft === -1) throw new Error(`ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: ${hard}`);
	if (hard !== -1 && soft > hard) throw new Error(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
	return [name, `${soft}:${hard}`];
}

function integer(text: string): number {
	if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(Number(text))) throw new Error(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
	return Number(text);
}

/** The attribute for `--network`; undefined for the default. */
export function networkMode(mode: string): string | undefined {
	if (mode === '' || mode === 'default') return undefined;
	if (mode !== 'host' && mode !== 'none') throw new Error(`network mode ${JSON.stringify(mode)} not supported by obd: use default, host or none`);
	return mode;
}

const entitlements = new Set(['network.host', 'security.insecure']);

/** `--allow` values that the builder knows. */
export function allowed(values: readonly string[]): readonly string[] {
	return values.filter((value) => value !== '').map((value) => {
		if (value === 'device' || value.startsWith('device=')) throw new Error('devices (--allow device) are not supported by obd');
		if (!entitlements.has(value)) throw new Error(`unknown entitlement ${value}`);
		return value;
	});
}
