// The build graph: operations, how they are written (states), how they travel (definitions), how they are
// read (graphs). The only thing frontends and the solver share; knows nothing of either and imports no
// other room.
// The wire types under their own names; `Platform` below is ours, the wire's is `pb.Platform`.
export * from './gen/ops.js';
export * as pb from './gen/ops.js';
export type { Digest } from './digest.js';
export { digestOf } from './digest.js';
export type { ResolveMode } from './attrs.js';
export { attr } from './attrs.js';
export { capabilities, checkCapabilities } from './caps.js';
export { goJson, goQuote } from './gotext.js';
export { compareBytes } from './order.js';
export { basePath, cleanPath, joinPath } from './path.js';
export type { Platform } from './platform.js';
export { formatPlatform, formatPlatformFull, hostPlatform, normalizePlatform, parsePlatform, samePlatform } from './platform.js';
export type { Reference } from './reference.js';
export { checkDigest, familiarReference, formatReference, parseReference, withDefaultTag } from './reference.js';
export type { Constraints, SourceLocation, SourceMap } from './constraints.js';
export { platformFromPb, platformToPb } from './constraints.js';
export type { ProcessMeta } from './state.js';
export { scratch, State } from './state.js';
export type { ExecOptions, ExecResult, MountOptions, SecretOptions, SshOptions } from './exec.js';
export { defaultPath } from './exec.js';
export type { CopyOptions, FileMeta, Owner } from './fileop.js';
export { fileActions, FileActions, parseOwner } from './fileop.js';
export type { GitOptions, GitRemote, HttpOptions, ImageOptions, LocalOptions, OciLayoutOptions } from './source.js';
export { git, http, image, local, ociLayout, source } from './source.js';
export type { BuildOptions } from './merge.js';
export { build, diff, merge } from './merge.js';
export type { MarshalOptions } from './definition.js';
export { marshal, stateFromDefinition } from './definition.js';
export type { Output } from './vertex.js';
export type { Edge, Graph, Vertex } from './graph.js';
export { DefinitionError, loadDefinition } from './graph.js';
