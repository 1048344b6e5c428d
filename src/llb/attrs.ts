// Names of the attributes a source op may carry (solver/pb/attr.go of BuildKit). Booleans are the string
// "true", lists are JSON arrays of strings.

export const attr = {
	gitKeepDir: 'git.keepgitdir',
	gitFullUrl: 'git.fullurl',
	gitAuthHeaderSecret: 'git.authheadersecret',
	gitAuthTokenSecret: 'git.authtokensecret',
	gitKnownSshHosts: 'git.knownsshhosts',
	gitMountSshSock: 'git.mountsshsock',
	gitChecksum: 'git.checksum',
	gitSkipSubmodules: 'git.skipsubmodules',
	gitMtime: 'git.mtime',
	gitFetchByCommit: 'git.fetchbycommit',

	localSessionId: 'local.session',
	localUniqueId: 'local.unique',
	localIncludePatterns: 'local.includepattern',
	localFollowPaths: 'local.followpaths',
	localExcludePatterns: 'local.excludepatterns',
	localSharedKeyHint: 'local.sharedkeyhint',
	localDiffer: 'local.differ',
	localMetadataTransfer: 'local.metadatatransfer',
	localMetadataTransferExclude: 'local.metadatatransferexclude',

	llbDefinitionFilename: 'llbbuild.filename',

	httpChecksum: 'http.checksum',
	httpFilename: 'http.filename',
	httpPerm: 'http.perm',
	httpUid: 'http.uid',
	httpGid: 'http.gid',
	httpAuthHeaderSecret: 'http.authheadersecret',
	/** Followed by the header's name in lower case. */
	httpHeaderPrefix: 'http.header.',

	imageResolveMode: 'image.resolvemode',
	imageRecordType: 'image.recordtype',
	imageLayerLimit: 'image.layerlimit',
	imageChecksum: 'image.checksum',

	ociSessionId: 'oci.session',
	ociStoreId: 'oci.store',
	ociLayerLimit: 'oci.layerlimit',
} as const;

/** Values of `image.resolvemode`. */
export type ResolveMode = 'default' | 'pull' | 'local';
