// The device server process. Does nothing but answer calls and fetch blobs: all block I/O is on native
// threads. Started by client.ts with a socket as descriptor 3; ends when that closes.
import { Socket } from 'node:net';
import { Channel } from './channel.js';
import type { BlobFetcher } from './fetcher.js';
import type { AnswerMessage, CallMessage, LoginQuestion, Message, Method, ServerConfig, ServerEvents } from './protocol.js';
import { Server } from './server.js';

// The terminal's signals are for the builder, which says when the devices are no longer needed.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

const config = JSON.parse(process.argv[2] ?? '{}') as ServerConfig;
let fetcher: Promise<BlobFetcher> | undefined;

/** Loads the registry client when the first remote layer is opened: a build of local layers never needs it. */
function loadFetcher(): Promise<BlobFetcher> {
	fetcher ??= import('./registry-fetcher.js').then(({ registryFetcher }) => registryFetcher(config, ask));
	return fetcher;
}

const questions = new Map<number, (answer: AnswerMessage) => void>();
let questionCount = 0;

function ask(question: LoginQuestion): Promise<unknown> {
	const number = questionCount++;
	return new Promise((resolve, reject) => {
		questions.set(number, ({ result, error }) => {
			if (error === undefined) resolve(result);
			else reject(new Error(error));
		});
		channel.send({ ask: number, question });
	});
}

const server = await Server.start(config, loadFetcher, (login) => void fetcher?.then(({ forget }) => { forget(login); }), (error) => emit('deviceError', error));
let closing: Promise<unknown> | undefined;
const close = (): Promise<unknown> => (closing ??= server.handlers.close(null));

const channel = new Channel(
	new Socket({ fd: 3, readable: true, writable: true }),
	(message) => void onMessage(message),
	// The builder has ended, perhaps without a word.
	() => void close().finally(() => process.exit()),
);
emit('ready', null);

function emit<E extends keyof ServerEvents>(event: E, data: ServerEvents[E]): void {
	channel.send({ event, data });
}

async function onMessage(message: Message): Promise<void> {
	if ('answer' in message) {
		questions.get(message.answer)?.(message);
		questions.delete(message.answer);
	}
	if (!('call' in message)) return;
	try {
		const result = message.method === 'close' ? await close() : await dispatch(message.method, message);
		channel.send({ reply: message.call, result });
	} catch (error) {
		const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
		channel.send({ reply: message.call, error: { message: error instanceof Error ? error.message : String(error), ...(code !== undefined && { code }) } });
	}
}

async function dispatch(method: Method, message: CallMessage): Promise<unknown> {
	const handler = server.handlers[method] as (params: unknown) => Promise<unknown>;
	return handler(message.params);
}
