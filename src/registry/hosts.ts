// Which hosts stand for a registry domain, and how to talk to each: BuildKit's registry configuration
// (buildkitd.toml `[registry."host"]`) as plain values.

export interface HostConfig {
	/** Speak http. Default: only to this machine itself. */
	readonly plainHttp?: boolean;
	/** Accept any certificate, and http where https is not spoken. */
	readonly insecure?: boolean;
	/** Asked first, in order, for what is read; `host[:port][/path]`. */
	readonly mirrors?: readonly string[];
	/** PEM files of certificate authorities to trust beside the usual ones. */
	readonly ca?: readonly string[];
	/** PEM files of client certificates. */
	readonly keyPairs?: readonly { readonly certificate: string; readonly key: string }[];
}

export type HostConfigs = Readonly<Record<string, HostConfig>>;

export type Scheme = 'http' | 'https';

/** One host to ask. */
export interface HostTarget {
	/** Host and port as in the URL. */
	readonly host: string;
	/** Between `/v2` and the repository, with a leading slash when not empty. */
	readonly pathPrefix: string;
	/** In the order to try them. */
	readonly schemes: readonly [Scheme, Scheme?];
	readonly config: HostConfig;
	/** Only for reading. */
	readonly mirror: boolean;
}

const dockerHub = 'docker.io';
const dockerHubRegistry = 'registry-1.docker.io';

/** The hosts for a reference's domain: mirrors in their order, then the registry itself. */
export function hostsFor(domain: string, configs: HostConfigs, insecure = false): HostTarget[] {
	const own: HostConfig = { ...configs[domain], ...(insecure && { insecure: true, plainHttp: true }) };
	const mirrors = (own.mirrors ?? []).map((mirror) => {
		const text = mirror.replace(/^[a-z]+:\/\//, '').replace(/\/+$/, '');
		const slash = text.indexOf('/');
		const host = slash === -1 ? text : text.slice(0, slash);
		return target(host, slash === -1 ? '' : text.slice(slash), configs[host] ?? {}, true);
	});
	return [...mirrors, target(domain === dockerHub ? dockerHubRegistry : domain, '', own, false)];
}

function target(host: string, pathPrefix: string, config: HostConfig, mirror: boolean): HostTarget {
	return { host, pathPrefix, schemes: schemesFor(host, config), config, mirror };
}

function schemesFor(host: string, config: HostConfig): [Scheme, Scheme?] {
	const local = isLocalHost(host);
	if (config.plainHttp === false) return ['https'];
	// A registry on this machine usually has no certificate; the other order costs a failed handshake.
	if (local) return ['http', 'https'];
	if (config.insecure === true) return config.plainHttp === true ? ['https', 'http'] : ['https'];
	return config.plainHttp === true ? ['http'] : ['https'];
}

/** localhost and the loopback addresses, with or without a port. */
export function isLocalHost(host: string): boolean {
	const name = host.startsWith('[') ? host.slice(1, host.indexOf(']')) : host.replace(/:[0-9]*$/, '');
	return name === 'localhost' || name === '::1' || host === '::1' || /^127(\.[0-9]{1,3}){3}$/.test(name);
}
