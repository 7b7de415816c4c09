import sys

try:
    from suites.online.load.command import main
except ModuleNotFoundError as error:
    sys.exit(
        f"error: {error}; the load generator needs the packages of the tests: "
        "pip install -e '.[test]', or run it with .nox/build/bin/python after nox -s suite"
    )

try:
    status = main()
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    status = 130
sys.exit(status)
