// What a token allows: `repository:NAME:pull,push` (distribution's token authentication, "scope").

export function repositoryScope(repository: string, ...actions: readonly ('pull' | 'push')[]): string {
	return `repository:${repository}:${actions.join(',')}`;
}

/** One scope a resource, sorted, actions united: equal needs have equal text. */
export function normalizeScopes(scopes: readonly string[]): string[] {
	const actions = new Map<string, Set<string>>();
	for (const scope of scopes.flatMap((text) => text.split(' ')).filter((text) => text !== '')) {
		const colon = scope.lastIndexOf(':');
		const resource = colon === -1 ? scope : scope.slice(0, colon);
		const set = actions.get(resource) ?? new Set();
		for (const action of colon === -1 ? [] : scope.slice(colon + 1).split(',')) set.add(action);
		actions.set(resource, set);
	}
	return [...actions].sort(([a], [b]) => (a < b ? -1 : 1)).map(([resource, set]) => `${resource}:${[...set].sort().join(',')}`);
}
