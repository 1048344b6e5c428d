// BuildKit's Control service: each method calls one of the rooms below.
import type { Handlers, ServerCall } from '../grpc/index.js';
import { Tunnel } from '../session/index.js';
import type { ControlDefinition } from './gen/control.js';
import type { BuildkitVersion, WorkerRecord } from '../gateway/index.js';
import { solve, type SolveHost } from './solve.js';

export interface ControlHost extends SolveHost {
	readonly version: BuildkitVersion;
	readonly workers: readonly WorkerRecord[];
}

export function controlHandlers(host: ControlHost): Handlers<typeof ControlDefinition> {
	return {
		info: () => ({ buildkitVersion: host.version }),
		listWorkers: ({ filter }) => ({ record: filter.length === 0 ? [...host.workers] : host.workers.filter((worker) => matches(worker, filter)) }),
		solve: (request, call) => solve(host, request, call),
		status: async ({ Ref }, call, send) => {
			sendTimestamp(call);
			const log = await host.statuses.wait(Ref, call.signal);
			await log.watch(send, call.signal);
		},
		session: async (requests, call, send) => {
			call.sendMetadata({});
			await host.sessions.serve(call.metadata, new Tunnel(requests, send), call.signal);
		},
	};
}

/** Clients correct the times of a stream's events by it. */
function sendTimestamp(call: ServerCall): void {
	call.sendMetadata({ 'buildkit-current-timestamp': new Date().toISOString() });
}

/** containerd's filters, as far as workers have what they ask for: `id==x`, `labels.key==value`. */
function matches({ ID, Labels }: WorkerRecord, filters: readonly string[]): boolean {
	return filters.some((filter) => filter.split(',').every((term) => {
		const [, field = '', value = ''] = /^(.*?)(?:==|~=)(.*)$/.exec(term) ?? [];
		return field === 'id' ? ID === value : Labels.get(field.replace(/^labels\./, '').replace(/^"|"$/g, '')) === value.replace(/^"|"$/g, '');
	}));
}
