// Where a builder instance keeps what its containers need: one directory, plus a cgroup and a memory-backed
// directory whose names follow from the directory's path, so that whoever recovers it finds them.
import { createHash } from 'node:crypto';
import path from 'node:path';

/** In a bundle: which cgroup directories a container with a parent of the user's choice brought about. */
export const createdCgroupsFile = 'created-cgroups.json';

export interface Layout {
	/** runc's own state. */
	readonly runcRoot: string;
	/** One directory with a config.json a running container. */
	readonly bundles: string;
	/** hosts and resolv.conf files. */
	readonly files: string;
	/** Parent cgroup of the containers, in every hierarchy. */
	readonly cgroup: string;
	/** Secrets of running containers; on tmpfs. */
	readonly secrets: string;
}

export function layoutOf(dir: string): Layout {
	const name = createHash('sha256').update(path.resolve(dir)).digest('hex').slice(0, 16);
	return {
		runcRoot: path.join(dir, 'runc'),
		bundles: path.join(dir, 'bundles'),
		files: path.join(dir, 'etc'),
		cgroup: `/obd-${name}`,
		secrets: `/dev/shm/obd-${name}`,
	};
}
