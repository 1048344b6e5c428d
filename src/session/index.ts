// What a client lends a build: directories, secrets, SSH agents, content stores, uploads. A build that runs in
// the client's own process (obd-build) lends them directly; the daemon lends them over the session's gRPC
// tunnel. Sources, ops and exporters see only this interface.

import type { Writable } from 'node:stream';

export type { Caller } from './caller.js';
export type { ClientSession } from './client-session.js';
export { directoryStore } from './directory-store.js';
export { ContentDefinition, type Info } from './gen/content.js';
export { SessionManager } from './manager.js';
export { Tunnel } from './tunnel.js';
export { lendAgent } from './ssh-agent.js';

export interface BuildSession {
	/**
	 * Directory on this host that holds the client's files of that name; throws when there is none. `onTransfer`
	 * hears how many bytes of contents and names have come so far, if they have to come from somewhere.
	 */
	localDirectory(name: string, wanted: LocalRequest, onTransfer?: (bytes: number) => void): Promise<LocalDirectory>;
	/** A secret's bytes, or undefined when the client has none of that id. */
	secret(id: string): Promise<Uint8Array | undefined>;
	/** A socket that leads to the client's SSH agent of that id; undefined when it forwards none at all, throws when none of that id. */
	sshAgent(id: string, options: SshSocketOptions): Promise<SshSocket | undefined>;
	/** A content store by the id clients give it: `oci:NAME` (a layout lent as a context), `local:DIR` (a cache). Throws when there is none. */
	contentStore(id: string): Promise<ContentStore>;
	/** Who the client is to a registry host; absent where this host's own configuration says it. */
	readonly credentials?: RegistryLogin;
	/** What the client uploads under a path of `http://buildkit-session/`; throws when there is nothing. */
	upload(path: string): Promise<AsyncIterable<Uint8Array>>;
}

/** Asked when a registry wants to know who the client is. */
export interface RegistryLogin {
	/** Undefined: anonymous. */
	(host: string): Promise<RegistryCredentials | undefined>;
	/** A token that the client fetches itself; undefined: it leaves that to us, with its credentials. */
	readonly token: (request: RegistryTokenRequest) => Promise<RegistryToken | undefined>;
}

/** What a registry demands (distribution's token authentication). */
export interface RegistryTokenRequest {
	/** The registry's. */
	readonly host: string;
	/** URL of the token server. */
	readonly realm: string;
	readonly service: string;
	readonly scopes: readonly string[];
	/** A token for the same that the registry did not take. */
	readonly refused?: string;
}

export interface RegistryToken {
	readonly value: string;
	/** Milliseconds since 1970. */
	readonly renewAt: number;
}

export interface RegistryCredentials {
	/** '' together with an identity token. */
	readonly username: string;
	readonly secret: string;
}

/** What of a client's directory is wanted: whoever has to transfer it need not bring more. */
export interface LocalRequest {
	readonly includePatterns: readonly string[];
	readonly excludePatterns: readonly string[];
	readonly followPaths: readonly string[];
	/** Transfers with the same hint share what is on disk already. */
	readonly sharedKeyHint?: string;
	/** How files that were transferred before are told from changed ones: by metadata (default), or not at all. */
	readonly differ?: 'none' | 'metadata';
	/** Only metadata is wanted, save for these patterns' files. */
	readonly metadataOnly?: readonly string[];
	/** The session that has the directory, where the build names one. */
	readonly sessionId?: string;
}

export interface SshSocketOptions {
	/** The socket is made in this directory. */
	readonly dir: string;
	readonly uid: number;
	readonly gid: number;
	readonly mode: number;
}

export interface SshSocket {
	readonly path: string;
	close(): Promise<void>;
}

export interface LocalDirectory {
	/** Absolute path. */
	readonly root: string;
	/** A file that remembers content digests of this directory between builds. */
	readonly statCache?: string;
}

/** Blobs of a client by digest. Nothing that comes from it is trusted: who reads checks. */
export interface ContentStore {
	/** Bytes of a blob; undefined when it is not there. */
	size(digest: string): Promise<number | undefined>;
	/** The blob's bytes from `offset` (default 0) on. */
	read(digest: string, options: { readonly offset?: number; readonly signal: AbortSignal }): AsyncIterable<Uint8Array>;
	/** Stores a blob; does nothing when it is there. */
	write(blob: { readonly digest: string; readonly size: number }, content: () => AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>;
}

/** Takes what an export makes: a client at the other end of a session. */
export interface ExportReceiver {
	/** A file to be written and ended; it is there when the stream has finished. `about`: what the exporter response says of it. */
	openFile(about: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Writable>;
	/** Where the blobs of a layout go that is not to be a tar. */
	contentStore(): ContentStore;
	/** The files of mounted trees, each below its prefix ('' for none), as they are. */
	sendTrees(trees: readonly ExportTree[], signal: AbortSignal): Promise<void>;
}

export interface ExportTree {
	readonly prefix: string;
	readonly root: string;
}
