// Who asked for what: the requests that frontends answered, and which of them a definition comes from.
import { Op, type Definition } from '../../llb/index.js';

export interface FrontendRequest {
	/** `dockerfile.v0`, ...; '' for a client that makes LLB itself. */
	readonly frontend: string;
	readonly attributes: Readonly<Record<string, string>>;
	/** What the inputs it was given come from, where that is known. */
	readonly inputs: ReadonlyMap<string, FrontendRequest>;
}

/** The answers of the builds in flight, by what they come to: one build's may be another's input. */
export class Producers {
	readonly #requests = new Map<string, FrontendRequest[]>();

	/** Returns what forgets it. */
	add(definition: Definition, request: FrontendRequest): () => void {
		const head = headOf(definition);
		if (head === undefined) return () => undefined;
		const known = this.#requests.get(head);
		if (known) known.push(request);
		else this.#requests.set(head, [request]);
		return () => {
			const others = (this.#requests.get(head) ?? []).filter((one) => one !== request);
			if (others.length > 0) this.#requests.set(head, others);
			else this.#requests.delete(head);
		};
	}

	/** The request a definition comes from; undefined when there is none, or different ones. */
	find(definition: Definition): FrontendRequest | undefined {
		const head = headOf(definition);
		const [first, ...others] = (head !== undefined && this.#requests.get(head)) || [];
		return first && others.every((other) => isEqual(first, other)) ? first : undefined;
	}

	/** Those of the named definitions that come from requests. */
	inputs(definitions: ReadonlyMap<string, Definition>): ReadonlyMap<string, FrontendRequest> {
		return new Map([...definitions].flatMap(([name, definition]) => {
			const request = this.find(definition);
			return request ? [[name, request] as const] : [];
		}));
	}
}

export function isEqual(a: FrontendRequest, b: FrontendRequest): boolean {
	return a === b || text(a) === text(b);
}

function text({ frontend, attributes, inputs }: FrontendRequest): string {
	const sorted = <T>(entries: Iterable<readonly [string, T]>): (readonly [string, T])[] => [...entries].sort(([one], [other]) => (one < other ? -1 : 1));
	return JSON.stringify([frontend, sorted(Object.entries(attributes)), sorted(inputs).map(([name, input]) => [name, text(input)])]);
}

/** The vertex a definition stands for; undefined for scratch. */
function headOf({ def }: Definition): string | undefined {
	const last = def.at(-1);
	return last && Op.decode(last).inputs[0]?.digest;
}
