// The container's /etc/resolv.conf: the host's, made fit for a container, by BuildKit's rules.
import { isIP } from 'node:net';
import type { NetworkMode } from './container-spec.js';

/** The file systemd-resolved keeps for those who cannot reach its stub at 127.0.0.53. */
export const resolvedPath = '/run/systemd/resolve/resolv.conf';
export const hostPath = '/etc/resolv.conf';

const publicServers = ['8.8.8.8', '8.8.4.4', '2001:4860:4860::8888', '2001:4860:4860::8844'];

interface ResolvConf {
	readonly nameservers: readonly string[];
	readonly search: readonly string[];
	readonly options: readonly string[];
	/** Lines of other directives. */
	readonly other: readonly string[];
}

/** Which of the host's files counts. Only in host mode does a container reach systemd-resolved's stub. */
export function sourcePath(hostFile: string, network: NetworkMode): string {
	if (network === 'host') return hostPath;
	const { nameservers } = parse(hostFile);
	return nameservers.length === 1 && nameservers[0] === '127.0.0.53' ? resolvedPath : hostPath;
}

/** What the builder's configuration says in place of the host's file. */
export interface DnsConfig {
	readonly nameservers?: readonly string[];
	readonly options?: readonly string[];
	readonly searchDomains?: readonly string[];
}

/**
 * The container's file out of the host's. Servers on a loopback address are left out but in host mode, and
 * where none remains public ones take their place.
 */
export function resolvConf(hostFile: string, network: NetworkMode, dns: DnsConfig = {}): string {
	const host = parse(hostFile);
	const given = (values: readonly string[] | undefined, otherwise: readonly string[]): readonly string[] => (values && values.length > 0 ? values : otherwise);
	const nameservers = given(dns.nameservers, host.nameservers);
	const search = given(dns.searchDomains, host.search);
	const options = given(dns.options, host.options);
	const { other } = host;
	const usable = network === 'host' ? nameservers : nameservers.filter((address) => !isLoopback(address));
	const lines = (usable.length > 0 ? usable : publicServers).map((address) => `nameserver ${address}`);
	if (search.length > 0) lines.push(`search ${search.join(' ')}`);
	if (options.length > 0) lines.push(`options ${options.join(' ')}`);
	return [...lines, ...other].map((line) => `${line}\n`).join('');
}

function parse(text: string): ResolvConf {
	const nameservers: string[] = [];
	let search: string[] = [];
	const options: string[] = [];
	const other: string[] = [];
	for (const line of text.split(/\r?\n/)) {
		const [directive, ...values] = line.trim().split(/\s+/);
		if (line.startsWith('#') || line.startsWith(';') || !directive) continue;
		if (directive === 'nameserver') {
			if (values[0] !== undefined && isIP(values[0]) !== 0) nameservers.push(values[0]);
		} else if (directive === 'search' || directive === 'domain') {
			if (values.length > 0) search = values;
		} else if (directive === 'options') {
			options.push(...values);
		} else {
			other.push(line);
		}
	}
	return { nameservers, search, options, other };
}

function isLoopback(address: string): boolean {
	return /^(::ffff:)?127\./i.test(address) || /^(0*:)*:?0*1$/.test(address.replace(/%.*/, ''));
}
