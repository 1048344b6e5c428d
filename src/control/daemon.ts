// The daemon: one builder, its clients' sessions, and BuildKit's services on the addresses it listens on.
import type { Builder } from '../builder/index.js';
import { LLBBridgeDefinition, WorkerRecord } from '../gateway/index.js';
import { HealthCheckResponse_ServingStatus as ServingStatus, HealthDefinition, RpcServer } from '../grpc/index.js';
import { platformToPb } from '../llb/index.js';
import { ContentDefinition, SessionManager } from '../session/index.js';
import { bridgeHandlers } from './bridge.js';
import { contentHandlers } from './content.js';
import { controlHandlers, type ControlHost } from './control.js';
import { ControlDefinition } from './gen/control.js';
import { TraceServiceDefinition } from './gen/trace.js';
import { History, type HistoryLimits } from './history.js';
import { IdleMemory } from './idle-memory.js';
import { GarbageCollector, type PrunePolicy } from './prune.js';
import { RunningBuilds } from './running-build.js';
import { StatusLogs } from './status-logs.js';
import { version } from './version.js';

export interface DaemonOptions {
	readonly builder: Builder;
	/** Names this worker among those of a cluster. */
	readonly workerId: string;
	readonly labels: Readonly<Record<string, string>>;
	/** Entitlements that clients may be granted. */
	readonly entitlements: readonly string[];
	/** Of the layers of an image whose client asks for none: `overlaybd`, `gzip`, ... */
	readonly compression: string;
	/** What clients have sent is kept here between builds. */
	readonly transferDir: string;
	readonly historyDir: string;
	readonly historyLimits: HistoryLimits;
	/** What the daemon collects by itself; none: nothing. */
	readonly gcPolicies: readonly PrunePolicy[];
	/** Said in the provenance of every build. */
	readonly provenanceEnv: Readonly<Record<string, unknown>>;
	readonly onError: (error: Error) => void;
}

/** A gRPC server with every service of the daemon; the caller lets it listen, and closes it. */
export function daemonServer({ builder, workerId, labels, entitlements, compression, transferDir, historyDir, historyLimits, gcPolicies, provenanceEnv, onError }: DaemonOptions): RpcServer {
	const workers = [WorkerRecord.create({
		ID: workerId,
		Labels: new Map(Object.entries(labels)),
		platforms: [platformToPb(builder.worker.platform)],
		BuildkitVersion: version,
		GCPolicy: gcPolicies.map(({ filters, keepDuration, reservedSpace, maxUsedSpace, minFreeSpace }) => ({
			all: false, filters: [...filters], keepDuration: BigInt(Math.round(keepDuration * 1e6)), reservedSpace, maxUsedSpace, minFreeSpace,
		})),
	})];
	const history = new History(historyDir, historyLimits);
	const host: ControlHost = {
		builder,
		sessions: new SessionManager(transferDir),
		running: new RunningBuilds(),
		statuses: new StatusLogs(),
		history,
		collector: new GarbageCollector(builder, gcPolicies, onError),
		idleMemory: new IdleMemory(builder, onError),
		entitlements,
		provenanceEnv,
		onError,
		compression,
		version,
		workers,
	};
	return new RpcServer(onError)
		.add(ControlDefinition, controlHandlers(host))
		.add(LLBBridgeDefinition, bridgeHandlers(host.running))
		.add(ContentDefinition, contentHandlers(history))
		.add(TraceServiceDefinition, { export: () => ({}) })
		.add(HealthDefinition, {
			check: () => ({ status: ServingStatus.SERVING }),
			watch: async (_request, { signal }, send) => {
				await send({ status: ServingStatus.SERVING });
				if (!signal.aborted) await new Promise<void>((resolve) => { signal.addEventListener('abort', () => { resolve(); }, { once: true }); });
			},
		});
}
