// Calls arrive in any order: who needs something that another call brings waits for it.

export class Registry<T> {
	readonly #values = new Map<string, T>();
	readonly #waiting = new Map<string, Set<(value: T) => void>>();

	/** Adds a value under a key that has none; returns what takes it out again. */
	add(key: string, value: T): () => void {
		if (this.#values.has(key)) throw new Error(`${key} exists`);
		this.#values.set(key, value);
		for (const wake of this.#waiting.get(key) ?? []) wake(value);
		this.#waiting.delete(key);
		return () => { if (this.#values.get(key) === value) this.#values.delete(key); };
	}

	get(key: string): T | undefined {
		return this.#values.get(key);
	}

	values(): IterableIterator<T> {
		return this.#values.values();
	}

	/** The value of a key as soon as there is one; undefined when `signal` aborts first, or after `patience` milliseconds. */
	wait(key: string, signal: AbortSignal, patience?: number): Promise<T | undefined> {
		const known = this.#values.get(key);
		if (known !== undefined || signal.aborted) return Promise.resolve(known);
		return new Promise((resolve) => {
			const waiting = this.#waiting.get(key) ?? new Set();
			this.#waiting.set(key, waiting);
			const settle = (value: T | undefined): void => {
				clearTimeout(timer);
				signal.removeEventListener('abort', stop);
				waiting.delete(settle);
				if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key);
				resolve(value);
			};
			const stop = (): void => { settle(undefined); };
			// A timer of its own: nothing holds a timeout's signal that is only a part of another, and once collected it never aborts.
			const timer = patience === undefined ? undefined : setTimeout(stop, patience);
			signal.addEventListener('abort', stop, { once: true });
			waiting.add(settle);
		});
	}
}
