// --config: how the command line programs reach registries and serve disks, from the file a buildkitd on this
// host reads.
import { existsSync } from 'node:fs';
import type { HostConfigs } from '../registry/index.js';

export const defaultConfigFile = '/etc/buildkit/buildkitd.toml';

export interface HostSettings {
	/** Mirrors, plain http, certificates. */
	readonly hosts: HostConfigs;
	/** `[worker.oci] device`, as it is written there. */
	readonly device: string | undefined;
}

/** What the file says of this host. Only the default file may be missing. */
export async function hostSettings(file: string): Promise<HostSettings> {
	// Most hosts have no such file, and reading it costs a start more than looking for it.
	if (file === defaultConfigFile && !existsSync(file)) return { hosts: {}, device: undefined };
	const { readConfig } = await import('../config/index.js');
	const config = await readConfig(file);
	if (!config) throw new Error(`failed to read ${file}: no such file`);
	return { hosts: config.hosts, device: config.worker.device };
}
