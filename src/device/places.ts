// Where blobs can be read and in whose name, as running builds have found out: equal layers may be in several
// repositories, and not everybody may read each of them.
import type { RemoteSource } from './types.js';

/** The name of somebody registries are asked for; undefined: this host itself. */
export type Login = string | undefined;

export interface Place {
	readonly source: RemoteSource;
	readonly login: Login;
}

export class Places {
	readonly #logins = new Set<Login>();
	/** The newest last. */
	readonly #byDigest = new Map<string, Place[]>();

	enter(login: Login): void {
		this.#logins.add(login);
	}

	/** He has been shown these blobs there. */
	add(place: Place, digests: readonly string[]): void {
		for (const digest of digests) {
			const others = (this.#byDigest.get(digest) ?? []).filter((one) => !isSame(one, place));
			this.#byDigest.set(digest, [...others, place]);
		}
	}

	leave(login: Login): void {
		this.#logins.delete(login);
		for (const [digest, places] of this.#byDigest) {
			const others = places.filter((place) => place.login !== login);
			if (others.length === 0) this.#byDigest.delete(digest);
			else this.#byDigest.set(digest, others);
		}
	}

	/** The places to try for a blob, in order, one at least: where it was shown to somebody who is there, else where it was found once. */
	of(digest: string, source: RemoteSource): readonly Place[] {
		const known = this.#byDigest.get(digest);
		if (known) return [...known].reverse();
		const logins: readonly Login[] = this.#logins.size > 0 ? [...this.#logins].reverse() : [undefined];
		return logins.map((login) => ({ source, login }));
	}
}

function isSame(a: Place, b: Place): boolean {
	return a.login === b.login && a.source.repository === b.source.repository && a.source.insecure === b.source.insecure;
}
