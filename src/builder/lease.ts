// The builder's lease. A command line build has one from its start to its end; a daemon lives longer than its
// builds, and starts a new one whenever it collects garbage between them.
import type { Lease, Protection, Store } from '../store/index.js';

export class BuilderLease implements Protection {
	private constructor(private readonly store: Store, private lease: Lease) {}

	static async take(store: Store): Promise<BuilderLease> {
		return new BuilderLease(store, await store.lease());
	}

	protect(refs: readonly string[]): Promise<void> {
		return this.lease.protect(refs);
	}

	/** Forgets what earlier builds needed. */
	async renew(): Promise<void> {
		const old = this.lease;
		this.lease = await this.store.lease();
		await old.release();
	}

	async release(): Promise<void> {
		await this.lease.release();
	}
}
