# The steps of CI, one recipe each. The commands are in .ci/run and tests/run, which work without just.

# Everything CI runs, in its order.
ci:
    .ci/run

# The code is formatted.
fmt:
    .ci/run fmt

# No lint speaks.
clippy:
    .ci/run clippy

# The documentation builds without a warning.
docs:
    .ci/run docs

# The shell scripts parse.
scripts:
    .ci/run scripts

# Licences, advisories, duplicates.
deny:
    .ci/run deny

# Ten seconds of the demo.
demo:
    .ci/run demo

# The tests: all layers, or those that are named (`just tests unit simulation`).
tests *layers:
    tests/run {{layers}}

# The packaged daemon for a Pi: arm64, armv7 or amd64.
cross *architectures:
    cross/build.sh {{architectures}}
