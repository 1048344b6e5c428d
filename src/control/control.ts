// BuildKit's Control service: each method calls one of the rooms below.
import type { Handlers, ServerCall } from '../grpc/index.js';
import { Tunnel } from '../session/index.js';
import type { UsageRecord } from '../builder/index.js';
import type { BuildkitVersion, WorkerRecord } from '../gateway/index.js';
import { parseFilters } from './filter.js';
import { UsageRecord as UsageMessage, type ControlDefinition } from './gen/control.js';
import { prune, usage } from './prune.js';
import { solve, type SolveHost } from './solve.js';

export interface ControlHost extends SolveHost {
	readonly version: BuildkitVersion;
	readonly workers: readonly WorkerRecord[];
}

export function controlHandlers(host: ControlHost): Handlers<typeof ControlDefinition> {
	return {
		info: () => ({ buildkitVersion: host.version }),
		listWorkers: ({ filter }) => {
			const matches = parseFilters(filter);
			return { record: host.workers.filter(({ ID, Labels }) => matches(([field, ...rest]) => (field === 'id' ? ID : field === 'labels' ? Labels.get(rest.join('.')) : undefined))) };
		},
		solve: (request, call) => solve(host, request, call),
		status: async ({ Ref }, call, send) => {
			sendTimestamp(call);
			const past = host.statuses.get(Ref) ? undefined : await host.history.progress(Ref);
			if (past) for (const response of past) await send(response);
			else await (await host.statuses.wait(Ref, call.signal)).watch(send, call.signal);
		},
		session: async (requests, call, send) => {
			call.sendMetadata({});
			await host.sessions.serve(call.metadata, new Tunnel(requests, send), call.signal);
		},
		diskUsage: async ({ filter, ageLimit }) => ({ record: (await usage(host.builder, { filters: filter, ageLimit: Number(ageLimit) / 1e6 })).map(usageMessage) }),
		prune: async ({ filter, keepDuration, reservedSpace, maxUsedSpace, minFreeSpace }, _call, send) => {
			const gone = await prune(host.builder, { filters: filter, keepDuration: Number(keepDuration) / 1e6, reservedSpace, maxUsedSpace, minFreeSpace });
			for (const record of gone) await send(usageMessage(record));
		},
		listenBuildHistory: async (request, call, send) => {
			sendTimestamp(call);
			await host.history.listen(request, send, call.signal);
		},
		updateBuildHistory: async ({ Ref, Pinned, Delete, Finalize }) => {
			if (Delete) await host.history.delete(Ref);
			else if (!Finalize) await host.history.pin(Ref, Pinned);
			return {};
		},
	};
}

/** Clients correct the times of a stream's events by it. */
function sendTimestamp(call: ServerCall): void {
	call.sendMetadata({ 'buildkit-current-timestamp': new Date().toISOString() });
}

function usageMessage({ id, parents, size, createdAt, lastUsedAt, usageCount, description, type, isShared }: UsageRecord): UsageMessage {
	return UsageMessage.create({
		ID: id, Parents: [...parents], Size: size, CreatedAt: createdAt, LastUsedAt: lastUsedAt, UsageCount: usageCount, Description: description, RecordType: type, Shared: isShared,
	});
}
