// What protoc's tables say of a service, and the shapes of its handlers and calls that follow from them.
import type { Metadata, OutgoingMetadata } from './metadata.js';

/** One message type: bytes to value and back. */
export interface MessageType<T> {
	encode(message: T): { finish(): Uint8Array };
	decode(bytes: Uint8Array): T;
}

export interface Method<Request, Response> {
	readonly name: string;
	readonly requestType: MessageType<Request>;
	readonly requestStream: boolean;
	readonly responseType: MessageType<Response>;
	readonly responseStream: boolean;
}

export interface Service {
	/** `package.Service`. */
	readonly fullName: string;
	readonly methods: Readonly<Record<string, {
		readonly name: string;
		readonly requestType: { decode(bytes: Uint8Array): unknown };
		readonly requestStream: boolean;
		readonly responseType: { encode(message: never): { finish(): Uint8Array } };
		readonly responseStream: boolean;
	}>>;
}

/** What a handler knows of its call beside the request. */
export interface ServerCall {
	readonly metadata: Metadata;
	/** Aborted when the client gives up, vanishes, or its deadline is over. */
	readonly signal: AbortSignal;
	/** Sends the response's metadata before its first message. */
	sendMetadata(metadata: OutgoingMetadata): void;
}

/** Sends a message; resolves when the connection takes more. Throws once the call has ended. */
export type Send<Response> = (message: Response) => Promise<void>;

type Decoded<Type> = Type extends { decode(...args: never[]): infer T } ? T : never;

export type RequestOf<M> = M extends { readonly requestType: infer Type } ? Decoded<Type> : never;
export type ResponseOf<M> = M extends { readonly responseType: infer Type } ? Decoded<Type> : never;

export type Handler<M> = M extends { readonly requestStream: true }
	? M extends { readonly responseStream: true }
		? (requests: AsyncIterable<RequestOf<M>>, call: ServerCall, send: Send<ResponseOf<M>>) => Promise<void>
		: (requests: AsyncIterable<RequestOf<M>>, call: ServerCall) => Promise<ResponseOf<M>>
	: M extends { readonly responseStream: true }
		? (request: RequestOf<M>, call: ServerCall, send: Send<ResponseOf<M>>) => Promise<void>
		: (request: RequestOf<M>, call: ServerCall) => Promise<ResponseOf<M>> | ResponseOf<M>;

/** Handlers of a service; a method without one answers UNIMPLEMENTED. */
export type Handlers<S extends { readonly methods: object }> = { readonly [K in keyof S['methods']]?: Handler<S['methods'][K]> };
