// The addresses a daemon listens on: `unix://PATH`, `tcp://HOST:PORT`.
import { readFile, chmod, chown, mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { RpcServer } from '../../grpc/index.js';
import type { Settings } from './settings.js';

/** Starts listening on one address; resolves to the address as clients can use it. */
export async function listen(server: RpcServer, address: string, { tls, uid, group }: Pick<Settings, 'tls' | 'uid' | 'group'>): Promise<string> {
	const [scheme = '', rest = ''] = address.split(/:\/\/(.*)/s);
	if (scheme === 'unix') {
		await mkdir(path.dirname(rest), { recursive: true });
		const options = { address: { path: rest } };
		await server.listen(options);
		await chown(rest, uid ?? process.getuid?.() ?? 0, await groupId(group));
		await chmod(rest, 0o660);
		return address;
	}
	if (scheme !== 'tcp') throw new Error(`listener address ${JSON.stringify(address)}: use unix://PATH or tcp://HOST:PORT`);
	const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d+)$/.exec(rest);
	if (!match) throw new Error(`listener address ${JSON.stringify(address)}: a host and a port are needed`);
	const host = match[1] ?? match[2] ?? '';
	const { port } = await server.listen({ address: { host: host === '' ? '::' : host, port: Number(match[3]) }, ...(tls && { tls: await credentials(tls) }) });
	return `tcp://${host.includes(':') ? `[${host}]` : host}:${port ?? 0}`;
}

/** With a certificate authority, clients have to show a certificate of it. */
async function credentials({ cert, key, ca }: NonNullable<Settings['tls']>): Promise<{ cert: Buffer; key: Buffer; ca?: Buffer; requestCert?: boolean; rejectUnauthorized?: boolean; minVersion: 'TLSv1.2' }> {
	return {
		cert: await readFile(cert),
		key: await readFile(key),
		minVersion: 'TLSv1.2',
		...(ca !== undefined && { ca: await readFile(ca), requestCert: true, rejectUnauthorized: true }),
	};
}

async function groupId(group: string | undefined): Promise<number> {
	if (group === undefined) return process.getgid?.() ?? 0;
	if (/^\d+$/.test(group)) return Number(group);
	const line = (await readFile('/etc/group', 'utf8')).split('\n').find((entry) => entry.startsWith(`${group}:`));
	if (line === undefined) throw new Error(`group ${group} not found`);
	return Number(line.split(':')[2]);
}
