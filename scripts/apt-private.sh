# Sourced, not run: apt with a private state.
#
# arm64 packages, source packages and backports are needed to test and to show
# nopal, but a developer's machine is not ours to reconfigure: no foreign
# architecture and no source line is added to it. apt works just as well on a
# state directory of its own, with sources derived from the ones the machine
# already has.
#
#   private_apt_setup DIR         make (once) the state in DIR and fetch the lists
#   private_apt TOOL ARGS...      run apt-get or apt-cache on that state
#   private_apt_unpack DEST PACKAGE...

private_apt() {
	local tool=$1
	shift
	"$tool" -qq -c "$PRIVATE_APT/apt.conf" "$@"
}

# private_apt_sources prints one-line sources for the machine's own Debian
# archives: arm64 packages, and the source packages beside them.
private_apt_sources() {
	local keyring="" candidate
	for candidate in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
		if [ -e "$candidate" ]; then
			keyring=" signed-by=$candidate"
			break
		fi
	done
	apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)' \
		'Created-By: Packages' | sort -u |
		while IFS='|' read -r origin uri release codename component; do
			[ "$origin" = Debian ] || continue
			echo "deb [arch=arm64$keyring] $uri $release $component"
			echo "deb-src [$(echo "$keyring" | sed 's/^ //')] $uri $release $component" | sed 's/ \[\]//'
			# Kernels with 16 KB pages came after bookworm.
			case $codename in
			*-*) ;;
			*) echo "deb [arch=arm64$keyring] $uri $codename-backports $component" ;;
			esac
		done | sort -u
}

private_apt_setup() {
	PRIVATE_APT=$(mkdir -p "$1" && cd "$1" && pwd)
	# Two targets of make may come here at the same time.
	local lock
	exec {lock}>"$PRIVATE_APT/setup.lock"
	flock "$lock"
	if [ ! -e "$PRIVATE_APT/ready" ]; then
		private_apt_lists || return 1
	fi
	exec {lock}>&-
}

# private_apt_lists writes the configuration and fetches the lists.
private_apt_lists() {
	if ! private_apt_sources | grep -q .; then
		as_root apt-get -qq update
	fi
	mkdir -p "$PRIVATE_APT"/{lists/partial,archives/partial,sources.d}
	: >"$PRIVATE_APT/status"
	private_apt_sources >"$PRIVATE_APT/sources.list"
	if ! grep -q . "$PRIVATE_APT/sources.list"; then
		echo "apt-private: this machine's apt has no Debian sources" >&2
		return 1
	fi
	cat >"$PRIVATE_APT/apt.conf" <<-CONF
		Dir::State "$PRIVATE_APT";
		Dir::State::lists "$PRIVATE_APT/lists";
		Dir::State::status "$PRIVATE_APT/status";
		Dir::Cache "$PRIVATE_APT";
		Dir::Cache::archives "$PRIVATE_APT/archives";
		Dir::Etc::sourcelist "$PRIVATE_APT/sources.list";
		Dir::Etc::sourceparts "$PRIVATE_APT/sources.d";
		#clear APT::Architectures;
		APT::Architectures { "$(dpkg --print-architecture)"; "arm64"; };
		APT::Sandbox::User "";
		APT::Get::List-Cleanup "false";
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
	CONF
	# A suite that a mirror does not carry is a warning, not the end: what is
	# missing then is reported by name.
	private_apt apt-get update || true
	if ! ls "$PRIVATE_APT"/lists/*_Packages* >/dev/null 2>&1; then
		echo "apt-private: no package lists could be fetched" >&2
		return 1
	fi
	touch "$PRIVATE_APT/ready"
}

# private_apt_get ARGS... downloads with apt-get. Lists that are some days old
# name versions that the archive no longer has: then they are fetched again.
private_apt_get() {
	private_apt apt-get "$@" || {
		private_apt apt-get update || true
		private_apt apt-get "$@"
	}
}

# private_apt_unpack DEST PACKAGE... unpacks arm64 packages into DEST without
# installing them.
private_apt_unpack() {
	local dest=$1 package download
	shift
	mkdir -p "$dest"
	for package in "$@"; do
		download=$(mktemp -d "$PRIVATE_APT/download.XXXXXX")
		(cd "$download" && private_apt_get download "$package") || return 1
		dpkg-deb -x "$download"/*.deb "$dest" || return 1
		rm -rf "$download"
	done
}

# native_apt_unpack DEST PACKAGE... does the same with packages of this machine's
# own architecture, by its own lists.
native_apt_unpack() {
	local dest=$1 package download
	shift
	mkdir -p "$dest"
	for package in "$@"; do
		download=$(mktemp -d "$dest/download.XXXXXX")
		(
			cd "$download"
			apt-get -qq download "$package" 2>/dev/null || {
				as_root apt-get -qq update && apt-get -qq download "$package"
			}
		) || return 1
		dpkg-deb -x "$download"/*.deb "$dest" || return 1
		rm -rf "$download"
	done
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		DEBIAN_FRONTEND=noninteractive "$@"
	else
		sudo DEBIAN_FRONTEND=noninteractive "$@"
	fi
}
