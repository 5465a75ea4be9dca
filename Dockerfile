# docker build -t ilora-lab . && docker run --rm -p 127.0.0.1:8501:8501 -v ilora-runs:/runs ilora-lab
FROM python:3.12-slim

RUN useradd --create-home lab && mkdir /runs && chown lab /runs
WORKDIR /lab

# The packages first: they change seldom. requirements.txt pins them, [app] leaves the test tools out.
COPY pyproject.toml requirements.txt README.md LICENSE ./
RUN mkdir ilora && touch ilora/__init__.py && pip install --no-cache-dir -c requirements.txt -e ".[app]"
COPY . .

USER lab
ENV ILORA_HOME=/runs
VOLUME /runs
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=5)"]
CMD ["python", "-m", "streamlit", "run", "app.py", "--server.address", "0.0.0.0", "--server.headless", "true"]
