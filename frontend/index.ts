// The Dockerfile frontend: from a Dockerfile and the options of a build to LLB definitions and image configs,
// as BuildKit's dockerfile.v0 makes them. Knows nothing of who runs them: all it needs comes through
// FrontendClient.
export type { FileStat, FrontendClient, ImageMeta, Platform, Reference, SourceMeta, Warning } from './client.js';
export { NotAnImageError } from './client.js';
export type { ErrorSource, Location } from './errors.js';
export { formatSource, FrontendError } from './errors.js';
export type { ContainerConfig, HealthConfig, History, Image } from './image.js';
export { decodeImage, defaultPathOf, encodeImage } from './image.js';
export type { FrontendResult, PlatformResult } from './build.js';
export { buildDockerfile } from './build.js';
export type { Answer } from './answer.js';
export type { Forward } from './other-frontend.js';
export { answer, sourcesOf } from './answer.js';
export { metadataKey, resultMetadata } from './result.js';
export type { FrontendImage } from './frontend-image.js';
export { findFrontendImage } from './frontend-image.js';
export type { CheckResult, Metadata, OutlineArg, OutlineResult, OutlineSecret, Target, TargetsResult } from './subrequests/index.js';
export {
	checkDockerfile, formatOutline, formatTargets, formatWarnings, handleSubrequest, listTargets, missingFrontendCap, outlineDockerfile, UnsupportedError,
} from './subrequests/index.js';
