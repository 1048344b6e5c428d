// Filters of a history listing: containerd's, and times and durations.
import { parseDuration } from '../config/index.js';
import { Code, RpcError } from '../grpc/index.js';
import { parseFilters, splitTerms } from './filter.js';
import type { BuildHistoryRecord } from './gen/control.js';

type Predicate = (record: BuildHistoryRecord) => boolean;

/** One of the filters must hold. `startedAt>24h` means: within the last 24 hours. Throws INVALID_ARGUMENT. */
export function historyFilter(filters: readonly string[]): Predicate {
	const all = filters.map((filter): Predicate => {
		const terms = splitTerms(filter);
		const timed = terms.map(timeFilter);
		const others = parseFilters(terms.filter((_, i) => !timed[i]));
		return (record) => others((path) => fieldOf(record, path)) && timed.every((holds) => !holds || holds(record));
	});
	return (record) => all.length === 0 || all.some((holds) => holds(record));
}

function fieldOf(record: BuildHistoryRecord, [field]: readonly string[]): string | undefined {
	switch (field) {
		case 'ref': return record.Ref;
		case 'status': return statusOf(record);
		case 'repository': return record.FrontendAttrs.get('vcs:source');
		default: return undefined;
	}
}

function statusOf({ CompletedAt, error }: BuildHistoryRecord): string {
	if (!CompletedAt) return 'running';
	if (!error) return 'completed';
	return error.message.includes('context canceled') ? 'canceled' : 'error';
}

function timeFilter(term: string): Predicate | undefined {
	const [, key = '', operator = '', value = ''] = /^(startedAt|completedAt|duration)(>=|<=|>|<)(.*)$/.exec(term) ?? [];
	if (key === '') return undefined;
	const duration = parseDuration(value);
	const limit = key === 'duration' ? duration : duration === undefined ? Date.parse(value) : Date.now() - duration;
	if (limit === undefined || Number.isNaN(limit)) throw new RpcError(Code.INVALID_ARGUMENT, `invalid ${key === 'duration' ? 'duration' : 'time'} ${value}`);
	return ({ CreatedAt, CompletedAt }) => {
		const [created, completed] = [CreatedAt?.getTime() ?? 0, CompletedAt?.getTime() ?? 0];
		const actual = key === 'startedAt' ? created : key === 'completedAt' ? completed : completed === 0 ? 0 : completed - created;
		switch (operator) {
			case '>=': return actual >= limit;
			case '<=': return actual <= limit;
			case '>': return actual > limit;
			default: return actual < limit;
		}
	};
}
