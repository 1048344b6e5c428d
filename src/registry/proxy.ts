// The proxy for a URL, by the environment variables every tool knows (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), with
// Go's reading of them: BuildKit's users have them set already.
import net from 'node:net';
import { isLocalHost } from './hosts.js';

export type ProxyEnvironment = Readonly<Record<string, string | undefined>>;

/** The proxy to use for a URL; undefined for a direct connection. Throws on a proxy URL that cannot be used. */
export function proxyFor(url: URL, environment: ProxyEnvironment): URL | undefined {
	const name = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
	const text = environment[name] ?? environment[name.toLowerCase()] ?? '';
	if (text === '' || isLocalHost(url.host) || isExcluded(url, environment['NO_PROXY'] ?? environment['no_proxy'] ?? '')) return undefined;
	const address = text.includes('://') ? text : `http://${text}`;
	const proxy = URL.canParse(address) ? new URL(address) : undefined;
	if (proxy?.protocol !== 'http:') throw new Error(`${name} must be an http:// URL, not ${withoutPassword(text)}`);
	return proxy;
}

/** The header that logs in to a proxy whose URL has a user in it. */
export function proxyHeaders(proxy: URL): { 'proxy-authorization'?: string } {
	if (proxy.username === '') return {};
	const login = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
	return { 'proxy-authorization': `Basic ${Buffer.from(login).toString('base64')}` };
}

function isExcluded(url: URL, list: string): boolean {
	const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
	const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
	return list.split(',').map((entry) => entry.trim().toLowerCase()).some((entry) => {
		if (entry === '' || entry === '*') return entry === '*';
		if (entry.includes('/')) return isInNetwork(host, entry);
		const [, name = entry, wantedPort] = /^(.*?)(?::([0-9]+))?$/.exec(entry) ?? [];
		if (wantedPort !== undefined && wantedPort !== port) return false;
		const domain = name.replace(/^\*?\./, '');
		return host.endsWith(`.${domain}`) || (host === domain && !name.startsWith('.'));
	});
}

function isInNetwork(host: string, network: string): boolean {
	const family = net.isIP(host);
	const [address = '', bits = ''] = network.split('/');
	if (family === 0 || net.isIP(address) !== family || !/^[0-9]{1,3}$/.test(bits) || Number(bits) > (family === 4 ? 32 : 128)) return false;
	const list = new net.BlockList();
	list.addSubnet(address, Number(bits), family === 4 ? 'ipv4' : 'ipv6');
	return list.check(host, family === 4 ? 'ipv4' : 'ipv6');
}

function withoutPassword(text: string): string {
	return text.replace(/\/\/[^@/]*@/, '//***@');
}
