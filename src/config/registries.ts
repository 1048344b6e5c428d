// `[registry."host"]`: how to talk to registries (moby/buildkit util/resolver/config).
import { readdirSync } from 'node:fs';
import path from 'node:path';
import type { HostConfig, HostConfigs } from '../registry/index.js';
import type { Table } from './table.js';

export function parseRegistries(registries: Table): HostConfigs {
	return Object.fromEntries(registries.keys().map((host) => [host, parseRegistry(registries.table(host))]));
}

function parseRegistry(table: Table): HostConfig {
	const plainHttp = table.boolean('http');
	const insecure = table.boolean('insecure');
	const mirrors = table.strings('mirrors');
	const directories = (table.strings('tlsconfigdir') ?? []).map(filesOfDocker);
	const ca = [...(table.strings('ca') ?? []), ...directories.flatMap((found) => found.ca)];
	const keyPairs = [
		...table.tables('keypair').map((pair) => ({ certificate: pair.string('cert') ?? '', key: pair.string('key') ?? '' })),
		...directories.flatMap((found) => found.keyPairs),
	];
	return {
		...(plainHttp !== undefined && { plainHttp }),
		...(insecure !== undefined && { insecure }),
		...(mirrors && { mirrors }),
		...(ca.length > 0 && { ca }),
		...(keyPairs.length > 0 && { keyPairs }),
	};
}

/** A directory as docker has them in /etc/docker/certs.d: authorities end in `.crt`, certificates in `.cert`, keys in `.key`. */
function filesOfDocker(directory: string): Required<Pick<HostConfig, 'ca' | 'keyPairs'>> {
	const names = namesIn(directory);
	return {
		ca: names.filter((name) => name.endsWith('.crt')).map((name) => path.join(directory, name)),
		keyPairs: names.filter((name) => name.endsWith('.cert')).map((name) => {
			const certificate = path.join(directory, name);
			return { certificate, key: certificate.replace(/cert$/, 'key') };
		}),
	};
}

function namesIn(directory: string): readonly string[] {
	try {
		return readdirSync(directory).sort();
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === 'ENOENT' || code === 'EACCES') return [];
		throw error;
	}
}
