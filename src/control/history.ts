// The history of builds: a record a build, with its progress and its error as blobs. Files of the store's
// directory, written whole: a record that is there has its blobs. A client need not wait for the record of its
// build: whoever asks for records does.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import type { Exported, PredicateRecord } from '../builder/index.js';
import { Code, RpcError, Status, statusOf } from '../grpc/index.js';
import { BuildHistoryEvent, BuildHistoryEventType, BuildHistoryRecord, BuildResultInfo, Descriptor, StatusResponse, type BuildHistoryRequest, type Exporter, type SolveRequest } from './gen/control.js';
import { historyFilter } from './history-filter.js';
import type { ProgressLog } from './progress-log.js';
import { traceMediaType, traceOf } from './trace.js';

export interface HistoryLimits {
	/** Milliseconds; older records go, unless pinned. */
	readonly maxAge: number;
	/** Newest records that stay whatever their age; of the others only this many do. */
	readonly maxEntries: number;
}

const statusMediaType = 'application/vnd.buildkit.status.v0';
// As BuildKit spells it.
const errorMediaType = 'application/vnd.googeapis.google.rpc.status+proto';
const provenanceMediaType = 'application/vnd.in-toto+json';

/** How a build ended. */
export interface Outcome {
	/** The exporters' response; absent when it failed. */
	readonly response?: ReadonlyMap<string, string>;
	/** What each of the exporters made, in their order. */
	readonly exported?: readonly Exported[];
	readonly provenance?: readonly PredicateRecord[];
	readonly error?: unknown;
}

type Listener = (event: BuildHistoryEvent) => void;

export class History {
	readonly #active = new Map<string, BuildHistoryRecord>();
	readonly #listeners = new Set<Listener>();
	/** Records of builds that have ended, being written. */
	readonly #ending = new Set<Promise<void>>();
	#records: Promise<Map<string, BuildHistoryRecord>> | undefined;

	constructor(private readonly directory: string, private readonly limits: HistoryLimits) {}

	/** A build has begun. Returns what records its end. */
	begin(request: SolveRequest, exporters: readonly Exporter[]): (progress: ProgressLog, outcome: Outcome) => Promise<void> {
		const record = BuildHistoryRecord.create({
			Ref: request.Ref, Frontend: request.Frontend, FrontendAttrs: request.FrontendAttrs, Exporters: [...exporters], CreatedAt: new Date(),
		});
		this.#active.set(record.Ref, record);
		this.#tell(BuildHistoryEventType.STARTED, record);
		return (progress, outcome) => {
			const ending = this.#end(record, progress, outcome);
			const settled = ending.catch(() => undefined).finally(() => this.#ending.delete(settled));
			this.#ending.add(settled);
			return ending;
		};
	}

	async #end(record: BuildHistoryRecord, progress: ProgressLog, { response, exported = [], provenance = [], error }: Outcome): Promise<void> {
		try {
			const responses = await progress.messages();
			Object.assign(record, { CompletedAt: new Date(), ...counts(responses) });
			record.logs = await this.#put(statusMediaType, framed(responses));
			if (response) record.ExporterResponse = new Map(response);
			await this.#addImages(record, exported);
			await this.#addProvenance(record, provenance);
			if (error !== undefined) {
				const status = statusOf(error);
				record.error = { ...status, details: [] };
				record.externalError = await this.#put(errorMediaType, Status.encode(status).finish());
			}
			record.trace = await this.#put(traceMediaType, traceOf({
				ref: record.Ref, started: record.CreatedAt ?? new Date(), completed: record.CompletedAt ?? new Date(), error: record.error?.message ?? '',
			}, responses));
			await this.#keep(record);
		} finally {
			this.#active.delete(record.Ref);
		}
		this.#tell(BuildHistoryEventType.COMPLETE, record);
		await this.#trim();
	}

	/** What there is, then, unless `EarlyExit`, what happens, until the listener has gone. */
	async listen(request: BuildHistoryRequest, send: (event: BuildHistoryEvent) => Promise<void>, signal: AbortSignal): Promise<void> {
		const filter = historyFilter(request.Filter);
		await this.#settled();
		const queue: BuildHistoryEvent[] = [];
		let wake = (): void => undefined;
		const isWanted = (record: BuildHistoryRecord | undefined): boolean => request.Ref === '' || record?.Ref === request.Ref;
		const listener: Listener = (event) => {
			if (isWanted(event.record)) queue.push(event);
			wake();
		};
		const stop = (): void => { wake(); };
		this.#listeners.add(listener);
		signal.addEventListener('abort', stop, { once: true });
		try {
			for (const record of [...this.#active.values()].filter(isWanted)) await send({ type: BuildHistoryEventType.STARTED, record });
			if (!request.ActiveOnly) {
				const records = [...(await this.#load()).values()].filter((record) => isWanted(record) && filter(record));
				for (const record of limited(records, request.Limit)) await send({ type: BuildHistoryEventType.COMPLETE, record });
			}
			while (!request.EarlyExit && !signal.aborted) {
				const event = queue.shift();
				if (event) await send(event);
				else await new Promise<void>((resolve) => { wake = resolve; });
			}
		} finally {
			this.#listeners.delete(listener);
			signal.removeEventListener('abort', stop);
		}
	}

	/** Pins a record or takes the pin away. Throws NOT_FOUND. */
	async pin(ref: string, pinned: boolean): Promise<void> {
		await this.#settled();
		const record = (await this.#load()).get(ref);
		if (!record) throw new RpcError(Code.NOT_FOUND, `failed to retrieve ref ${ref}: file does not exist`);
		if (record.pinned === pinned) return;
		await this.#keep({ ...record, pinned, Generation: record.Generation + 1 });
		this.#tell(BuildHistoryEventType.COMPLETE, record);
	}

	async delete(ref: string): Promise<void> {
		await this.#settled();
		await this.#remove(ref);
	}

	async #remove(ref: string): Promise<void> {
		const records = await this.#load();
		const record = records.get(ref);
		if (!record) return;
		records.delete(ref);
		await rm(this.#recordFile(ref), { force: true });
		const needed = new Set([...records.values()].flatMap(blobsOf));
		for (const digest of blobsOf(record)) if (!needed.has(digest)) await rm(this.#blobFile(digest), { force: true });
		this.#tell(BuildHistoryEventType.DELETED, record);
	}

	/** Progress of a build that has ended; undefined when there is no record of it. */
	async progress(ref: string): Promise<readonly StatusResponse[] | undefined> {
		await this.#settled();
		const logs = (await this.#load()).get(ref)?.logs;
		return logs && unframed(await readFile(this.#blobFile(logs.digest)));
	}

	/** Digests of all blobs. */
	async blobs(): Promise<readonly string[]> {
		await this.#settled();
		const names = await readdir(path.join(this.directory, 'blobs')).catch(() => []);
		return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => `sha256:${name}`);
	}

	/** Size of a blob; undefined when it is not here. */
	async blobSize(digest: string): Promise<number | undefined> {
		await this.#settled();
		return (await stat(this.#blobFile(digest)).catch(() => undefined))?.size;
	}

	blob(digest: string, start: number, end: number): Readable {
		return createReadStream(this.#blobFile(digest), { start, end, highWaterMark: 1024 * 1024 });
	}

	async #settled(): Promise<void> {
		await Promise.all(this.#ending);
	}

	async #addImages(record: BuildHistoryRecord, exported: readonly Exported[]): Promise<void> {
		const images = new Map<bigint, Descriptor>();
		for (const [i, { root }] of exported.entries()) {
			if (!root) continue;
			const { mediaType, annotations = {} } = root.descriptor;
			images.set(BigInt(i), { ...await this.#put(mediaType, root.bytes), annotations: new Map(Object.entries(annotations)) });
		}
		const [first] = images.values();
		if (first) record.Result = { ResultDeprecated: first, Attestations: [], Results: images };
	}

	async #addProvenance(record: BuildHistoryRecord, provenance: readonly PredicateRecord[]): Promise<void> {
		for (const { platform, predicateType, content } of provenance) {
			const blob = { ...await this.#put(provenanceMediaType, content), annotations: new Map([['in-toto.io/predicate-type', predicateType]]) };
			const info = (platform === undefined ? record.Result : record.Results.get(platform)) ?? BuildResultInfo.create();
			info.Attestations.push(blob);
			if (platform === undefined) record.Result = info;
			else record.Results.set(platform, info);
		}
	}

	async #keep(record: BuildHistoryRecord): Promise<void> {
		const records = await this.#load();
		await writeWhole(this.#recordFile(record.Ref), BuildHistoryRecord.encode(record).finish());
		records.set(record.Ref, record);
	}

	async #put(mediaType: string, bytes: Uint8Array): Promise<Descriptor> {
		const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
		await writeWhole(this.#blobFile(digest), bytes);
		return { mediaType, digest, size: bytes.length, annotations: new Map() };
	}

	async #trim(): Promise<void> {
		const records = [...(await this.#load()).values()].filter(({ pinned }) => !pinned).sort((a, b) => timeOf(b) - timeOf(a));
		const oldest = Date.now() - this.limits.maxAge;
		for (const [i, record] of records.entries()) {
			if (i >= this.limits.maxEntries || timeOf(record) < oldest) await this.#remove(record.Ref);
		}
	}

	#load(): Promise<Map<string, BuildHistoryRecord>> {
		return (this.#records ??= this.#read());
	}

	async #read(): Promise<Map<string, BuildHistoryRecord>> {
		await Promise.all(['records', 'blobs'].map((name) => mkdir(path.join(this.directory, name), { recursive: true, mode: 0o700 })));
		const directory = path.join(this.directory, 'records');
		const records = new Map<string, BuildHistoryRecord>();
		for (const name of (await readdir(directory)).sort()) {
			try {
				const record = BuildHistoryRecord.decode(await readFile(path.join(directory, name)));
				records.set(record.Ref, record);
			} catch {
				await rm(path.join(directory, name), { force: true }); // half of one, from a power failure
			}
		}
		return records;
	}

	/** Refs are the client's words: only their digest is a file name. */
	#recordFile(ref: string): string {
		return path.join(this.directory, 'records', createHash('sha256').update(ref).digest('hex'));
	}

	#blobFile(digest: string): string {
		const hex = /^sha256:([0-9a-f]{64})$/.exec(digest)?.[1];
		if (hex === undefined) throw new RpcError(Code.INVALID_ARGUMENT, `${JSON.stringify(digest)} is no digest`);
		return path.join(this.directory, 'blobs', hex);
	}

	#tell(type: BuildHistoryEventType, record: BuildHistoryRecord): void {
		for (const listener of this.#listeners) listener({ type, record });
	}
}

async function writeWhole(file: string, bytes: Uint8Array): Promise<void> {
	const temporary = `${file}.${process.pid}.${process.hrtime.bigint()}`;
	await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
	await writeFile(temporary, bytes, { mode: 0o600 });
	await rename(temporary, file);
}

function timeOf({ CreatedAt }: BuildHistoryRecord): number {
	return CreatedAt?.getTime() ?? 0;
}

function limited(records: readonly BuildHistoryRecord[], limit: number): readonly BuildHistoryRecord[] {
	if (limit < 0) throw new RpcError(Code.INVALID_ARGUMENT, `invalid limit ${limit}`);
	return limit === 0 ? records : [...records].sort((a, b) => timeOf(b) - timeOf(a)).slice(0, limit);
}

function blobsOf({ logs, externalError, trace, Result, Results }: BuildHistoryRecord): string[] {
	const results = [...(Result ? [Result] : []), ...Results.values()].flatMap((info) => [...info.Attestations, ...info.Results.values()]);
	return [logs, externalError, trace, ...results].flatMap((blob) => (blob ? [blob.digest] : []));
}

interface Counts {
	readonly numCachedSteps: number;
	readonly numCompletedSteps: number;
	readonly numTotalSteps: number;
	readonly numWarnings: number;
}

function counts(responses: readonly StatusResponse[]): Counts {
	const vertexes = responses.flatMap((response) => response.vertexes);
	const distinct = (some: typeof vertexes): number => new Set(some.map(({ digest }) => digest)).size;
	return {
		numCachedSteps: distinct(vertexes.filter(({ cached }) => cached)),
		numCompletedSteps: distinct(vertexes.filter(({ completed }) => completed)),
		numTotalSteps: distinct(vertexes),
		numWarnings: responses.reduce((sum, { warnings }) => sum + warnings.length, 0),
	};
}

/** Each message after its length, in four bytes, the lowest first. */
function framed(responses: readonly StatusResponse[]): Buffer {
	return Buffer.concat(responses.flatMap((response) => {
		const bytes = StatusResponse.encode(response).finish();
		const length = Buffer.alloc(4);
		length.writeUInt32LE(bytes.length);
		return [length, bytes];
	}));
}

function unframed(bytes: Buffer): StatusResponse[] {
	const responses: StatusResponse[] = [];
	for (let at = 0; at + 4 <= bytes.length;) {
		const end = at + 4 + bytes.readUInt32LE(at);
		responses.push(StatusResponse.decode(bytes.subarray(at + 4, end)));
		at = end;
	}
	return responses;
}
