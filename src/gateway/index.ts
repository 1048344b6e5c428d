// The gateway: what a build offers to frontends (solves, files, image configs, containers), and frontends
// themselves, in this process, in containers, and in clients: the LLBBridge service is the same for all.
// What a frontend comes to is references, solved when they are wanted, and metadata.
export { Bridge } from './bridge.js';
export { frontendApiCaps, llbCaps } from './caps.js';
export { callError, PolicyDeniedError } from './errors.js';
export type { AskedRequest, GatewayHost } from './host.js';
export { refsOf, type FrontendOutput, type ResultAttestation } from './output.js';
export { BuildReference } from './reference.js';
export { solve, type SolveRequest } from './solve.js';
export { sourceMeta } from './source-meta.js';
export { AttestationKind, InTotoSubjectKind, LLBBridgeDefinition } from './gen/gateway.js';
export type { ResolveSourceMetaRequest, ResolveSourceMetaResponse } from './gen/gateway.js';
export { PolicyVerifierDefinition, type CheckPolicyRequest, type CheckPolicyResponse } from './gen/policysession.js';
export { APICap } from './gen/caps.js';
export { AttrMatch, MatchType, Policy, PolicyAction } from './gen/sourcepolicy.js';
export type { Policy as SourcePolicy } from './gen/sourcepolicy.js';
export { BuildkitVersion, WorkerRecord } from './gen/worker.js';
