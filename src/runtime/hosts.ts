// The container's /etc/hosts.

export const defaultHostname = 'buildkitsandbox';

/** As BuildKit writes it: loopback under the host's name, then the extra hosts in their order. */
export function hostsFile(hostname: string, extraHosts: readonly { readonly host: string; readonly ip: string }[]): string {
	const own = `127.0.0.1\tlocalhost ${hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n`;
	return own + extraHosts.map(({ host, ip }) => `${ip}\t${host}\n`).join('');
}
