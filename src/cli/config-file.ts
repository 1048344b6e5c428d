// --config: how the command line programs reach registries, from the file a buildkitd on this host reads.
import { existsSync } from 'node:fs';
import type { HostConfigs } from '../registry/index.js';

export const defaultConfigFile = '/etc/buildkit/buildkitd.toml';

/** The file's registries: mirrors, plain http, certificates. Only the default file may be missing. */
export async function registryHosts(file: string): Promise<HostConfigs> {
	// Most hosts have no such file, and reading it costs a start more than looking for it.
	if (file === defaultConfigFile && !existsSync(file)) return {};
	const { readConfig } = await import('../config/index.js');
	const config = await readConfig(file);
	if (!config) throw new Error(`failed to read ${file}: no such file`);
	return config.hosts;
}
