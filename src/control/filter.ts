// containerd's filters: `field==value`, `field!=value`, `field~=regexp`, `field`, joined by commas into one that
// holds when all do; of several filters one must hold.
import { Code, RpcError } from '../grpc/index.js';

/** Looks up a field by its path, `labels.key` as ['labels', 'key']; undefined when there is none. */
export type FieldReader = (path: readonly string[]) => string | undefined;

type Predicate = (read: FieldReader) => boolean;

/** Whether one of the filters holds; without any, everything passes. Throws INVALID_ARGUMENT. */
export function parseFilters(filters: readonly string[]): Predicate {
	const parsed = filters.map((filter) => splitTerms(filter).map(parseTerm));
	return (read) => parsed.length === 0 || parsed.some((terms) => terms.every((holds) => holds(read)));
}

/** At commas that are not quoted. */
export function splitTerms(filter: string): string[] {
	const terms = filter.match(/(?:"(?:\\.|[^"\\])*"|\|[^|]*\||[^,"|])+/g) ?? [];
	return terms.map((term) => term.trim()).filter((term) => term !== '');
}

function parseTerm(term: string): Predicate {
	const match = /^((?:"[^"]*"|[\w-]+)(?:\.(?:"[^"]*"|[\w/-]+))*)\s*(?:(==|!=|~=)\s*(.*))?$/s.exec(term);
	if (!match) throw new RpcError(Code.INVALID_ARGUMENT, `filters: parse error: [${term}]`);
	const path = (match[1]?.match(/"[^"]*"|[^."]+/g) ?? []).map((part) => part.replace(/^"|"$/g, ''));
	const value = unquote(match[3] ?? '');
	switch (match[2]) {
		case '==': return (read) => read(path) === value;
		case '!=': return (read) => read(path) !== value;
		case '~=': {
			const pattern = regexp(value, term);
			return (read) => pattern.test(read(path) ?? '');
		}
		default: return (read) => read(path) !== undefined;
	}
}

function regexp(text: string, term: string): RegExp {
	try {
		return new RegExp(text);
	} catch (error) {
		throw new RpcError(Code.INVALID_ARGUMENT, `filters: parse error: [${term}]: ${(error as Error).message}`);
	}
}

function unquote(text: string): string {
	const match = /^(?:"((?:\\.|[^"\\])*)"|\|([^|]*)\|)$/s.exec(text);
	if (!match) return text;
	return match[2] ?? (match[1] ?? '').replace(/\\(.)/g, '$1');
}
