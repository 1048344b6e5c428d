// The steps of a build for provenance with mode=max: every operation as JSON, in the form Go's encoder gives
// BuildKit's messages.
import { Op, digestOf, type Definition } from '../../llb/index.js';

type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

interface Steps {
	readonly steps: readonly Plain[];
	/** `stepN` by vertex digest. */
	readonly names: ReadonlyMap<string, string>;
}

/** `buildConfig`: the operations and their names. */
export function buildConfig(definition: Definition): Plain {
	const { steps, names } = stepsOf(definition);
	return { digestMapping: sorted(names), llbDefinition: steps };
}

/** `source`: the files the operations come from, and where in them; undefined where nobody says. */
export function sourceInfo({ Source, ...definition }: Definition): Plain | undefined {
	if (!Source || Source.infos.length === 0) return undefined;
	const { names } = stepsOf(definition);
	const locations = [...Source.locations].flatMap(([digest, value]): (readonly [string, Plain])[] => {
		const name = names.get(digest);
		return name === undefined ? [] : [[name, json(value) ?? {}]];
	});
	return {
		locations: sorted(new Map(locations)),
		infos: Source.infos.map(({ filename, language, data, definition: inner }) => {
			const { steps, names: innerNames } = inner ? stepsOf(inner) : { steps: [], names: new Map<string, string>() };
			return withoutEmpty({ filename, language, data: Buffer.from(data).toString('base64'), llbDefinition: steps, digestMapping: sorted(innerNames) });
		}),
	};
}

/** What the steps are called, by vertex digest. */
export function stepNames(definition: Definition): ReadonlyMap<string, string> {
	return stepsOf(definition).names;
}

/** Inputs before users, from the result on. */
function stepsOf({ def }: Pick<Definition, 'def'>): Steps {
	const ops = new Map(def.map((bytes) => [digestOf(bytes), Op.decode(bytes)]));
	const names = new Map<string, string>();
	const order: Op[] = [];
	const stack = [...ops.keys()].slice(-1).map((digest) => ({ digest, next: 0 }));
	const seen = new Set(stack.map(({ digest }) => digest));
	for (let top = stack.at(-1); top; top = stack.at(-1)) {
		const op = ops.get(top.digest);
		const input = op?.inputs[top.next++];
		if (input && !seen.has(input.digest)) {
			seen.add(input.digest);
			stack.push({ digest: input.digest, next: 0 });
		} else if (!input) {
			if (op) {
				names.set(top.digest, `step${order.length}`);
				order.push(op);
			}
			stack.pop();
		}
	}
	return {
		names,
		steps: order.map((op, i) => withoutEmpty({
			id: `step${i}`,
			op: opJson(op),
			inputs: op.inputs.map(({ digest, index }) => `${names.get(digest) ?? ''}:${index}`),
		})),
	};
}

function opJson({ op, platform, constraints }: Op): Plain {
	if (op?.$case === 'source') for (const name of ['local.session', 'local.unique']) op.source.attrs.delete(name);
	return {
		Op: op ? json(op) ?? {} : {},
		...(platform && { platform: json(platform) ?? {} }),
		...(constraints && { constraints: json(constraints) ?? {} }),
	};
}

/** Members whose JSON name is not ours. */
const jsonNames: Readonly<Record<string, string>> = {
	proxyEnv: 'proxy_env', httpProxy: 'http_proxy', httpsProxy: 'https_proxy', ftpProxy: 'ftp_proxy', noProxy: 'no_proxy', allProxy: 'all_proxy',
	includePatterns: 'include_patterns', excludePatterns: 'exclude_patterns', requiredPaths: 'required_paths', byID: 'byId',
};
/** Members that are written even when they are zero. */
const always: ReadonlySet<string> = new Set(['input', 'secondaryInput', 'output']);

/** A message as Go writes it: what is zero or empty is left out, a message that is there is not. */
function json(value: unknown): Plain | undefined {
	if (value instanceof Uint8Array) return value.length === 0 ? undefined : Buffer.from(value).toString('base64');
	if (value instanceof Map) return value.size === 0 ? undefined : sorted(value as ReadonlyMap<string, unknown>);
	if (Array.isArray(value)) return value.length === 0 ? undefined : value.map((item) => json(item) ?? zeroOf(item));
	if (typeof value === 'bigint') return value === 0n ? undefined : Number(value);
	if (typeof value === 'object' && value !== null) return message(value as Record<string, unknown>);
	return value === '' || value === 0 || value === false || value === undefined || value === null ? undefined : value as Plain;
}

function message(value: Record<string, unknown>): Plain {
	const isAction = 'secondaryInput' in value;
	const entries = Object.entries(value).filter(([key]) => key !== '$case').flatMap(([key, member]): (readonly [string, Plain])[] => {
		// A file action's and an owner's choice stand under a member of their own.
		const name = key === 'action' && isAction ? 'Action' : key === 'user' && isChoice(member) ? 'User' : jsonNames[key] ?? key;
		const written = json(member);
		if (written !== undefined) return [[name, written]];
		return isAction && always.has(key) ? [[name, 0]] : [];
	});
	return sorted(new Map(entries));
}

function isChoice(value: unknown): boolean {
	return typeof value === 'object' && value !== null && '$case' in value;
}

/** An item of a list is written whatever it is. */
function zeroOf(value: unknown): Plain {
	return typeof value === 'string' ? '' : typeof value === 'boolean' ? false : 0;
}

function sorted(map: ReadonlyMap<string, unknown>): Plain {
	return Object.fromEntries([...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [key, value as Plain]));
}

function withoutEmpty(object: Readonly<Record<string, Plain>>): Plain {
	return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== '' && !(Array.isArray(value) && value.length === 0) && !(typeof value === 'object' && value !== null && Object.keys(value).length === 0)));
}
