// What a client asks for: one build, as plain values, everything checked at the door (the command line,
// or later the daemon's Solve call).

import type { CacheRequest } from '../cache/index.js';
import type { ExportRequest } from '../exporters/index.js';

export type { CacheRequest } from '../cache/index.js';
export type { Exported, ExportRequest } from '../exporters/index.js';

export interface BuildRequest {
	/** Where the client's files are. `context` and `dockerfile` are the two every Dockerfile build has. */
	readonly localDirectories: Readonly<Record<string, string>>;
	/** Frontend attributes as BuildKit names them: `filename`, `target`, `build-arg:K`, `label:K`, `platform`, `no-cache`, `context:NAME`, ... */
	readonly frontendAttributes: Readonly<Record<string, string>>;
	readonly exports: readonly ExportRequest[];
	/** `--cache-from`, `--cache-to`. */
	readonly cacheImports: readonly CacheRequest[];
	readonly cacheExports: readonly CacheRequest[];
	/** By id. */
	readonly secrets: Readonly<Record<string, SecretRequest>>;
	/** SSH agent sockets or key files by id. */
	readonly ssh: Readonly<Record<string, readonly string[]>>;
	/** Directories of content by the id of their store: `oci:NAME` an OCI layout lent as a context, `local:DIR` a cache. */
	readonly contentStores: Readonly<Record<string, string>>;
	/** What is uploaded when the build asks for `http://buildkit-session/...`, by path; each can be read once. */
	readonly uploads?: Readonly<Record<string, AsyncIterable<Uint8Array>>>;
	/** Entitlements granted: `network.host`, `security.insecure`. */
	readonly allow: readonly string[];
	/** Registries, `host[:port]`, that may be spoken to over plain http or without a valid certificate. */
	readonly insecureRegistries: readonly string[];
}

export type SecretRequest = { readonly file: string } | { readonly env: string };

export interface BuildResult {
	/** As BuildKit's exporter response: `containerimage.digest`, `containerimage.config.digest`, `containerimage.descriptor`, `image.name`, ... */
	readonly metadata: Readonly<Record<string, string>>;
}
