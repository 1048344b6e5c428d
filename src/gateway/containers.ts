// The containers of one frontend by the ids it chose, and the stream that drives their processes.
import { Code, RpcError, type Send } from '../grpc/index.js';
import type { LeftResult } from '../ops/index.js';
import { ExitError, type ContainerProcess } from '../runtime/index.js';
import { GatewayContainer, sendSignal, type MountFiles } from './container.js';
import { callError } from './errors.js';
import type { ExecMessage, FdMessage, InitMessage, NewContainerRequest } from './gen/gateway.js';
import type { GatewayHost } from './host.js';

/** What an exit that is no exit code is sent as. */
const unknownExitStatus = 255;

export class Containers {
	readonly #containers = new Map<string, GatewayContainer>();

	/** @param refOf the ref of an id; throws when there is none */
	constructor(private readonly host: GatewayHost, private readonly refOf: (id: string) => LeftResult | undefined) {}

	async create(request: NewContainerRequest): Promise<void> {
		const container = await GatewayContainer.create(this.host, request, this.refOf);
		if (this.#containers.has(request.ContainerID)) {
			await container.release();
			throw new RpcError(Code.ALREADY_EXISTS, `Container ${request.ContainerID} already exists`);
		}
		this.#containers.set(request.ContainerID, container);
	}

	async release(id: string): Promise<void> {
		const container = this.#containers.get(id);
		if (!container) throw new Error(`container details for ${id} not found`);
		this.#containers.delete(id);
		await container.release();
	}

	files(id: string, mountIndex: number): MountFiles {
		const container = this.#containers.get(id);
		if (!container) throw new Error(`container details for ${id}@${mountIndex} not found`);
		return container.files(mountIndex);
	}

	/** Runs the processes one stream asks for until it ends, and their last words are sent. */
	async exec(requests: AsyncIterable<ExecMessage>, send: Send<ExecMessage>): Promise<void> {
		const processes = new Map<string, Process>();
		try {
			for await (const { ProcessID: id, Input: message } of requests) {
				if (id === '') throw new RpcError(Code.INVALID_ARGUMENT, 'ProcessID required');
				const process = processes.get(id);
				if (message?.$case === 'Init') {
					if (process) throw new RpcError(Code.ALREADY_EXISTS, `Process ${id} already exists`);
					processes.set(id, this.#start(id, message.Init, send));
				} else {
					if (!process) throw new RpcError(Code.NOT_FOUND, `IO for process "${id}" not found`);
					process.handle(message);
				}
			}
		} finally {
			for (const process of processes.values()) process.closeInput();
		}
		await Promise.all([...processes.values()].map((process) => process.done));
	}

	async close(): Promise<void> {
		await Promise.all([...this.#containers.keys()].map((id) => this.release(id)));
	}

	#start(id: string, init: InitMessage, send: Send<ExecMessage>): Process {
		const container = this.#containers.get(init.ContainerID);
		if (!container) throw new RpcError(Code.NOT_FOUND, `container "${init.ContainerID}" previously released or not created`);
		return new Process(id, init, container, send);
	}
}

/** A process and the client's end of its streams. */
class Process {
	readonly done: Promise<void>;
	#process: ContainerProcess | undefined;
	/** What came before the process was there. */
	#early: ((process: ContainerProcess) => void)[] | undefined = [];
	#isStarted = false;

	constructor(private readonly id: string, private readonly init: InitMessage, container: GatewayContainer, private readonly send: Send<ExecMessage>) {
		this.done = this.#run(container);
	}

	handle(message: ExecMessage['Input']): void {
		switch (message?.$case) {
			case 'File': return this.#write(message.File);
			case 'Resize': {
				const { Rows, Cols } = message.Resize;
				return this.#withProcess((process) => { process.resize(Rows, Cols); });
			}
			case 'Signal': {
				const { Name } = message.Signal;
				return this.#withProcess((process) => { sendSignal(process, Name); });
			}
			default: return undefined;
		}
	}

	/** Nothing more comes from the client. */
	closeInput(): void {
		this.#withProcess((process) => { if (!this.init.Tty) process.input?.end(); });
	}

	async #run(container: GatewayContainer): Promise<void> {
		let error: unknown;
		try {
			await container.run(this.init, {
				onStart: (process) => { this.#attach(process); },
				onOutput: (stream, data) => { if (this.init.Fds.includes(stream)) this.#say({ $case: 'File', File: { Fd: stream, EOF: false, Data: data } }); },
			});
		} catch (caught) {
			error = caught;
		}
		this.#start();
		this.#early = undefined;
		this.#say({ $case: 'Exit', Exit: exitOf(error) });
		for (const Fd of this.init.Fds) if (Fd !== 0) this.#say({ $case: 'File', File: { Fd, EOF: true, Data: new Uint8Array() } });
		this.#say({ $case: 'Done', Done: {} });
	}

	#attach(process: ContainerProcess): void {
		this.#start();
		this.#process = process;
		const early = this.#early ?? [];
		this.#early = undefined;
		for (const action of early) action(process);
	}

	/** Clients wait for this message first, even when nothing can be started. */
	#start(): void {
		if (!this.#isStarted) this.#say({ $case: 'Started', Started: {} });
		this.#isStarted = true;
	}

	#write({ Fd, EOF, Data }: FdMessage): void {
		if (Fd !== 0 || !this.init.Fds.includes(0)) throw new RpcError(Code.OUT_OF_RANGE, `fd ${Fd} unavailable to write`);
		this.#withProcess(({ input }) => { if (input?.writable && Data.length > 0) input.write(Data); });
		if (EOF) this.closeInput();
	}

	#withProcess(action: (process: ContainerProcess) => void): void {
		if (this.#process) action(this.#process);
		else this.#early?.push(action);
	}

	#say(Input: ExecMessage['Input']): void {
		// A client that has gone hears nothing; its build ends for other reasons.
		this.send({ ProcessID: this.id, Input }).catch(() => undefined);
	}
}

function exitOf(error: unknown): { Code: number; Error: { code: number; message: string; details: { typeUrl: string; value: Uint8Array }[] } | undefined } {
	if (error === undefined) return { Code: 0, Error: undefined };
	const { code, message, details } = callError(error);
	return { Code: error instanceof ExitError ? error.exitCode : unknownExitStatus, Error: { code, message, details: [...details] } };
}
