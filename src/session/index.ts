// What a client lends a build: directories, secrets, SSH agents, registry credentials. A build that runs in
// the client's own process (obd-build) lends them directly; the daemon will lend them over the session's
// gRPC tunnel. Sources and ops see only this interface.

export interface BuildSession {
	/** Directory on this host that holds the client's files of that name; throws when there is none. */
	localDirectory(name: string): Promise<LocalDirectory>;
	/** A secret's bytes, or undefined when the client has none of that id. */
	secret(id: string): Promise<Uint8Array | undefined>;
	/** A socket that leads to the client's SSH agent of that id; undefined when it forwards none. */
	sshAgent(id: string, options: SshSocketOptions): Promise<SshSocket | undefined>;
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
