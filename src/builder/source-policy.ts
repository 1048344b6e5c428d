// Source policies: which sources a build may use, and what to use instead. As BuildKit reads them: the last rule
// that matches decides, and what is converted is looked at again.
import { posix } from 'node:path';
import { runInNewContext } from 'node:vm';
import { MatchType, PolicyAction, AttrMatch, type SourcePolicy } from '../gateway/index.js';
import { formatReference, parseReference, withDefaultTag, type SourceOp } from '../llb/index.js';

type Rule = SourcePolicy['rules'][number];
type Selector = NonNullable<Rule['selector']>;

const maxConversions = 20;
/** Milliseconds. Patterns are the client's, and can be made to take for ever. */
const maxMatchTime = 500;

export class SourcePolicies {
	/** Equal for policies that say the same; '' for none. */
	readonly fingerprint: string;

	/** Throws for a rule that says nothing. */
	constructor(private readonly policies: readonly SourcePolicy[]) {
		for (const { rules } of policies) for (const { selector } of rules) if (!selector) throw new Error('invalid nil selector in policy');
		this.fingerprint = policies.length === 0 ? '' : JSON.stringify(policies, (_, value: unknown) => (value instanceof Map ? [...value] : typeof value === 'bigint' ? String(value) : value));
	}

	/** These and others. */
	with(others: readonly SourcePolicy[]): SourcePolicies {
		return others.length === 0 ? this : new SourcePolicies([...this.policies, ...others]);
	}

	/** The source to use in place of one. Throws for one that is denied. */
	apply(source: SourceOp): SourceOp {
		if (this.policies.length === 0) return source;
		try {
			let current = { ...source, identifier: normalized(source.identifier) };
			for (let i = 0; ; i++) {
				if (i > maxConversions) throw new Error('too many mutations on a single source: too many operations');
				const converted = this.#convert(current);
				if (!converted) return current;
				current = converted;
			}
		} catch (error) {
			throw new Error(`error evaluating the source policy: ${(error as Error).message}`, { cause: error });
		}
	}

	#convert(source: SourceOp): SourceOp | undefined {
		for (const { rules } of this.policies) {
			let isDenied = false;
			for (const rule of rules) {
				const { selector } = rule;
				if (!selector || !matches(selector, source)) continue;
				if (rule.action === PolicyAction.CONVERT) {
					const converted = convert(rule, selector, source);
					if (converted) return converted;
				} else {
					if (rule.action !== PolicyAction.ALLOW && rule.action !== PolicyAction.DENY) throw new Error(`source policy: rule ${rule.action as number} ${selector.identifier}: unknown type ${JSON.stringify(source.identifier)}`);
					isDenied = rule.action === PolicyAction.DENY;
				}
			}
			if (isDenied) throw new Error(`source ${JSON.stringify(source.identifier)} denied by policy: source denied by policy`);
		}
		return undefined;
	}
}

function matches({ identifier, matchType, constraints }: Selector, source: SourceOp): boolean {
	for (const { key, value, condition } of constraints) {
		const given = source.attrs.get(key) ?? '';
		if (condition === AttrMatch.MATCHES ? find(value, given).length === 0 : (given === value) !== (condition === AttrMatch.EQUAL)) return false;
	}
	if (identifier === source.identifier) return true;
	return matchType !== MatchType.EXACT && find(pattern(identifier, matchType), source.identifier).length > 0;
}

/** Undefined when nothing changes. */
function convert({ updates }: Rule, selector: Selector, source: SourceOp): SourceOp | undefined {
	if (!updates) throw new Error('error mutating source policy: missing destination for convert rule');
	const identifier = format(selector, source.identifier, updates.identifier || selector.identifier) || source.identifier;
	const changed = [...updates.attrs].filter(([key, value]) => source.attrs.get(key) !== value);
	if (identifier === source.identifier && changed.length === 0) return undefined;
	return { identifier, attrs: new Map([...source.attrs, ...changed]) };
}

function format({ identifier, matchType }: Selector, text: string, destination: string): string {
	if (matchType === MatchType.EXACT) return destination;
	const found = find(pattern(identifier, matchType), text);
	let result = '';
	let at = 0;
	for (const { index, groups, names } of found) {
		result += text.slice(at, index) + expand(destination, groups, names);
		at = index + (groups[0]?.length ?? 0);
	}
	return result + text.slice(at);
}

/** `$1`, `${1}`, `$name`, `${name}`, `$$`, as Go's regexp.Expand has them. */
function expand(template: string, groups: readonly (string | null)[], names: Readonly<Record<string, string>>): string {
	return template.replace(/\$(?:\$|\{(\w+)\}|(\w+))/g, (_, braced?: string, bare?: string) => {
		const name = braced ?? bare;
		if (name === undefined) return '$';
		return (/^\d+$/.test(name) ? groups[Number(name)] : names[name]) ?? '';
	});
}

/** A selector as a regular expression. */
function pattern(identifier: string, matchType: MatchType): string {
	if (matchType === MatchType.REGEX) return identifier.replaceAll('(?P<', '(?<');
	if (matchType !== MatchType.WILDCARD) throw new Error(`unknown match type: ${matchType as number}`);
	if (identifier.includes('**')) throw new Error(`failed to translate wildcard ${JSON.stringify(identifier)} to regexp: invalid wildcard: "**"`);
	return `^${identifier.replace(/[\\.+*?()|[\]{}^$]/g, '\\$&').replaceAll('\\*', '(.*)')}$`;
}

interface Found {
	readonly index: number;
	readonly groups: readonly (string | null)[];
	readonly names: Readonly<Record<string, string>>;
}

function find(expression: string, text: string): readonly Found[] {
	try {
		const script = 'JSON.stringify([...text.matchAll(new RegExp(expression, "g"))].map((match) => ({ index: match.index, groups: [...match], names: match.groups ?? {} })))';
		return JSON.parse(runInNewContext(script, { text, expression }, { timeout: maxMatchTime }) as string) as Found[];
	} catch (error) {
		throw new Error(`error matching source policy: invalid regex ${JSON.stringify(expression)}: ${(error as Error).message}`, { cause: error });
	}
}

/** Images by their whole names, directories of repositories by their shortest, as rules have them. */
export function normalized(identifier: string): string {
	if (identifier.startsWith('git://')) return normalizedGit(identifier);
	const [, scheme, reference] = /^(docker-image:\/\/)(.+)$/.exec(identifier) ?? [];
	if (scheme === undefined || reference === undefined) return identifier;
	try {
		return scheme + formatReference(withDefaultTag(parseReference(reference)));
	} catch {
		return identifier; // whoever uses it says what is wrong
	}
}

function normalizedGit(identifier: string): string {
	const [, remote, ref = '', directory] = /^([^#]*)#([^:]*):(.*)$/s.exec(identifier) ?? [];
	if (remote === undefined || directory === undefined) return identifier;
	const clean = posix.join('/', directory).replace(/^\/|\/$/g, '');
	const fragment = clean === '' ? ref : `${ref}:${clean}`;
	return fragment === '' ? remote : `${remote}#${fragment}`;
}
