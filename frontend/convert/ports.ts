// EXPOSE: `80`, `8000-8010/udp`, and forms with an address that are on their way out.
import { isIP } from 'node:net';
import type { Location } from '../errors.js';
import { messageOf } from '../errors.js';
import type { Linter } from '../lint/linter.js';
import { parseInteger, quote } from '../text/format.js';

interface Parts {
	readonly ip: string;
	readonly hostPort: string;
	readonly port: string;
	readonly proto: string;
}

function split(text: string): Parts {
	const fields = text.split(':');
	const [ip, hostPort, containerPort] = [
		fields.length > 2 ? fields.slice(0, -2).join(':') : '',
		fields.length > 1 ? fields.at(-2) ?? '' : '',
		fields.at(-1) ?? '',
	];
	const slash = containerPort.indexOf('/');
	const port = slash < 0 ? containerPort : containerPort.slice(0, slash);
	const proto = slash < 0 ? '' : containerPort.slice(slash + 1);
	if (port === '') throw new Error('no port specified');
	if (!['', 'tcp', 'udp', 'sctp'].includes(proto.toLowerCase())) throw new Error(`invalid proto: ${proto}`);
	return { ip, hostPort, port, proto: proto || 'tcp' };
}

/** First and last port; undefined when it is no range. */
function range(text: string): { first: number; last: number } | undefined {
	const dash = text.indexOf('-');
	const first = port(dash < 0 ? text : text.slice(0, dash));
	const last = dash < 0 ? first : port(text.slice(dash + 1));
	return first === undefined || last === undefined || last < first ? undefined : { first, last };
}

function port(text: string): number | undefined {
	try {
		const value = Number(parseInteger(text));
		return value >= 0 && value <= 65535 ? value : undefined;
	} catch {
		return undefined;
	}
}

function checkAddress(ip: string): void {
	if (ip === '') return;
	const bare = ip.startsWith('[') && ip.endsWith(']') ? ip.slice(1, -1) : ip;
	if (isIP(bare) === 0) throw new Error(`invalid IP address: ${bare}`);
}

/**
 * The ports one argument of EXPOSE stands for, as `port/proto`.
 * @throws Error with BuildKit's text.
 */
export function parsePorts(text: string, location: Location, lint: Linter): string[] {
	let parts: Parts;
	try {
		parts = split(text);
	} catch (error) {
		throw new Error(`invalid port: ${quote(text)}: ${messageOf(error)}`, { cause: error });
	}
	const { ip, hostPort, proto } = parts;
	if (proto !== proto.toLowerCase()) lint.report('exposeProtoCasing', location, text);
	if (ip !== '' || hostPort !== '') lint.report('exposeInvalidFormat', location, text);
	checkAddress(ip);
	const ports = range(parts.port);
	if (!ports) throw new Error(`invalid containerPort: ${parts.port}`);
	if (hostPort !== '') {
		const host = range(hostPort);
		if (!host) throw new Error(`invalid hostPort: ${hostPort}`);
		if (ports.last !== ports.first && ports.last - ports.first !== host.last - host.first) {
			throw new Error(`invalid ranges specified for container and host Ports: ${parts.port} and ${hostPort}`);
		}
	}
	return Array.from({ length: ports.last - ports.first + 1 }, (_, i) => `${ports.first + i}/${proto.toLowerCase()}`);
}
