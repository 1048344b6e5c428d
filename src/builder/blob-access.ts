// Who may read which remote blobs where: what the running builds lend the device server, which asks registries
// in their names. What is secret stays here until a registry wants it.
import type { AccessCall, Access, LentBlobs, LoginQuestion, RemoteSource } from '../device/index.js';
import type { CredentialProvider } from '../registry/index.js';

interface Lender {
	readonly login: CredentialProvider;
	readonly name: string;
	readonly blobs: LentBlobs[];
}

export class BlobAccess implements Access {
	readonly #lenders = new Map<CredentialProvider, Lender>();
	/** Of this host itself. */
	readonly #own: LentBlobs[] = [];
	readonly #listeners = new Set<(call: AccessCall) => void>();
	#names = 0;

	/** A build begins whose blobs are read in the name of `login`; undefined: of this host itself. */
	enter(login: CredentialProvider | undefined): void {
		if (!login || this.#lenders.has(login)) return;
		const lender = { login, name: String(this.#names++), blobs: [] };
		this.#lenders.set(login, lender);
		this.#tell({ method: 'enter', params: { login: lender.name } });
	}

	/** A registry has shown these blobs to him. Does nothing for who is not there. */
	lend(login: CredentialProvider | undefined, source: RemoteSource, digests: readonly string[]): void {
		const lender = login && this.#lenders.get(login);
		if (login && !lender) return;
		const lent = { ...(lender && { login: lender.name }), source, digests };
		(lender?.blobs ?? this.#own).push(lent);
		this.#tell({ method: 'lend', params: lent });
	}

	/** The build has ended. */
	leave(login: CredentialProvider | undefined): void {
		const lender = login && this.#lenders.get(login);
		if (!login || !lender) return;
		this.#lenders.delete(login);
		this.#tell({ method: 'leave', params: { login: lender.name } });
	}

	calls(): AccessCall[] {
		return [
			...this.#own.map((params): AccessCall => ({ method: 'lend', params })),
			...[...this.#lenders.values()].flatMap(({ name, blobs }): AccessCall[] => [
				{ method: 'enter', params: { login: name } },
				...blobs.map((params): AccessCall => ({ method: 'lend', params })),
			]),
		];
	}

	listen(listener: (call: AccessCall) => void): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}

	async answer(question: LoginQuestion): Promise<unknown> {
		const lender = [...this.#lenders.values()].find(({ name }) => name === question.login);
		if (!lender) throw new Error('the build it was read for has ended');
		return 'host' in question ? lender.login(question.host) : lender.login.token?.(question.token);
	}

	#tell(call: AccessCall): void {
		for (const listener of this.#listeners) listener(call);
	}
}
